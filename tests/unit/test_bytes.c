/* bytes: reads never pass the end, trailing bytes are refused, what is written reads back. */
#include "check.h"

#include "crypto/bytes.h"
#include "crypto/err.h"

#include <string.h>

static void round_trip(void)
{
    struct bytes_out out;
    bytes_out_init(&out);
    bytes_put_u8(&out, 0x12);
    bytes_put_u16(&out, 0x3456);
    bytes_put_u32(&out, 0x789abcde);
    bytes_put_u64(&out, 0x0102030405060708);
    bytes_put_i64(&out, -5);
    bytes_put_var16(&out, "name", 4);
    bytes_put_var32(&out, "", 0);
    CHECK(!out.bad);

    struct bytes_in in;
    bytes_in_init(&in, out.p, out.len);
    CHECK_EQ(bytes_get_u8(&in), 0x12);
    CHECK_EQ(bytes_get_u16(&in), 0x3456);
    CHECK_EQ(bytes_get_u32(&in), 0x789abcde);
    CHECK_EQ(bytes_get_u64(&in), 0x0102030405060708);
    CHECK_EQ(bytes_get_i64(&in), -5);
    size_t len;
    const uint8_t *p = bytes_get_var16(&in, 255, &len);
    CHECK(p && len == 4 && memcmp(p, "name", 4) == 0);
    CHECK(bytes_get_var32(&in, 10, &len) && len == 0);
    CHECK_EQ(bytes_in_done(&in), ERR_OK);

    /* every cut of it is refused */
    for (size_t cut = 0; cut < out.len; cut++) {
        bytes_in_init(&in, out.p, cut);
        bytes_get_u8(&in), bytes_get_u16(&in), bytes_get_u32(&in), bytes_get_u64(&in),
            bytes_get_i64(&in);
        bytes_get_var16(&in, 255, &len);
        bytes_get_var32(&in, 10, &len);
        CHECK_EQ(bytes_in_done(&in), ERR_FORMAT);
    }
    bytes_out_release(&out);
}

static void limits(void)
{
    static const uint8_t raw[] = {5, 0, 'a', 'b', 'c', 'd', 'e'};
    struct bytes_in in;
    size_t len;
    bytes_in_init(&in, raw, sizeof(raw));
    CHECK(!bytes_get_var16(&in, 4, &len) && len == 0); /* over the cap */
    CHECK_EQ(bytes_in_done(&in), ERR_FORMAT);

    bytes_in_init(&in, raw, sizeof(raw));
    bytes_get_u8(&in);
    CHECK_EQ(bytes_in_done(&in), ERR_FORMAT); /* left over */

    uint8_t got[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    bytes_in_init(&in, raw, 3);
    bytes_get(&in, got, 8);
    CHECK(in.bad && got[0] == 0 && got[7] == 0);
}

int main(void)
{
    round_trip();
    limits();
    return check_done();
}
