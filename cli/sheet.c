#include "cli/sheet.h"

#include "cli/cmd.h"
#include "crypto/err.h"
#include "crypto/file.h"

#include <errno.h>
#include <fcntl.h>
#include <qrencode.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Two modules to a character cell, dark on light with a quiet zone of two, so that a phone reads it from a dark terminal too. */
static void print_qr(const char *text)
{
    QRcode *qr = QRcode_encodeString(text, 0, QR_ECLEVEL_M, QR_MODE_8, 1);
    if (!qr)
        return;
    static const char *const cells[] = {"\u2588", "\u2580", "\u2584",
                                        " "}; /* light is drawn, dark is left out */
    int w = qr->width;
    for (int y = -2; y < w + 2; y += 2) {
        fputs("    ", stdout);
        for (int x = -2; x < w + 2; x++) {
            bool in_x = x >= 0 && x < w;
            bool top = in_x && y >= 0 && y < w && (qr->data[y * w + x] & 1);
            bool bottom = in_x && y + 1 >= 0 && y + 1 < w && (qr->data[(y + 1) * w + x] & 1);
            fputs(cells[(top ? 2 : 0) + (bottom ? 1 : 0)], stdout);
        }
        putchar('\n');
    }
    sodium_memzero(qr->data, (size_t)(w * w));
    QRcode_free(qr);
}

void sheet_print(const uint8_t code[CODE_LEN], const uint8_t vault_id[32])
{
    char text[CODE_TEXT_MAX], id[17], date[32] = "";
    time_t now = time(NULL);
    struct tm tm;

    code_format(code, text);
    sodium_bin2hex(id, sizeof(id), vault_id, 8);
    if (localtime_r(&now, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d", &tm);
    printf("\n  ------------------------------------------------------------------\n"
           "  VAULT CODE                          vault %s, %s\n\n"
           "    %s\n\n",
           id, date, text);
    print_qr(text);
    printf("\n  Whoever has this code and the store can read everything. Without it and\n"
           "  without this device nobody can, nor can we. Print it or write it down,\n"
           "  keep it away from this computer. It is not shown again.\n"
           "  ------------------------------------------------------------------\n\n");
    fflush(stdout);
    sodium_memzero(text, sizeof(text));
}

int sheet_write_file(const uint8_t code[CODE_LEN], const char *path)
{
    char text[CODE_TEXT_MAX + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        cmd_error("%s: %s; the code file must not exist yet", path, strerror(errno));
        return EXIT_USAGE;
    }
    code_format(code, text);
    size_t len = strlen(text);
    text[len++] = '\n';
    /* the code is shown only once: without the sync a power cut could take the only copy */
    bool ok = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    int e = errno;
    if (close(fd) != 0)
        ok = false;
    sodium_memzero(text, sizeof(text));
    /* likewise its name */
    char dir[4096];
    const char *slash = strrchr(path, '/');
    if (ok &&
        snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1,
                 slash ? path : ".") < (int)sizeof(dir) &&
        file_sync_dir(AT_FDCWD, dir) == 0)
        return 0;
    cmd_error("%s: %s", path, ok ? err_text(ERR_IO) : strerror(e));
    unlink(path);
    return EXIT_OTHER;
}
