/*
 * err.h - the one enum of error codes of this project.
 *
 * Every function that can fail returns 0 (or, where its header says so, a positive result) or one of
 * these. They become an errno in one place only, fs/fusefs_errno.c, and an exit code in one place only,
 * cli/cmd.c. An error is logged once, where it is first seen.
 */
#ifndef CRYPTO_ERR_H
#define CRYPTO_ERR_H

enum err_code {
    ERR_OK = 0,
    /* what any layer can meet */
    ERR_NOMEM = -1,     /* out of memory */
    ERR_IO = -2,        /* the local disk failed */
    ERR_NOSPACE = -3,   /* the local disk is full */
    ERR_FORMAT = -4,    /* bytes that no writer of ours makes: cannot be parsed */
    ERR_AUTH = -5,      /* a tag, commitment or signature is wrong */
    ERR_STALE = -6,     /* older than what was seen before */
    ERR_VERSION = -7,   /* a format or suite from the future */
    ERR_MISUSE = -8,    /* the caller broke the contract */
    ERR_INTR = -9,      /* interrupted or cancelled */
    ERR_LOCKED = -10,   /* in use by another process */
    ERR_NOTVAULT = -11, /* no vault there */
    ERR_WRONGKEY = -12, /* wrong passphrase, keyfile or vault code */
    ERR_DENIED = -13,   /* the operating system refused access */
    /* the store */
    ERR_NET = -20,           /* transient: time-out, connection, 5xx; try again */
    ERR_NETPERM = -21,       /* permanent: the server will go on refusing */
    ERR_LOGIN = -22,         /* the store refused the login */
    ERR_STOREFULL = -23,     /* no room on the store */
    ERR_CONTRADICTION = -24, /* validly signed and contradicts: rollback or fork */
    ERR_BEHIND = -25,        /* the store does not show all that it must have; not an alarm */
    ERR_NOTOURS = -26,       /* the store holds something that is not this vault */
    /* file system answers */
    ERR_NOENT = -40,
    ERR_EXIST = -41,
    ERR_NOTDIR = -42,
    ERR_ISDIR = -43,
    ERR_NOTEMPTY = -44,
    ERR_NAMETOOLONG = -45,
    ERR_INVAL = -46,
    ERR_MLINK = -47,
    ERR_FBIG = -48,
    ERR_NODATA = -49, /* no such xattr */
    ERR_RANGE = -50,  /* buffer too small for an xattr */
    ERR_TOOBIG = -51, /* xattr value or list too long */
    ERR_PERM = -52,   /* not the owner, or not permitted */
    ERR_ROFS = -53,   /* read-only mount */
    ERR_NOTSUP = -54,
    ERR_LOOP = -55,
    ERR_NXIO = -56, /* SEEK_DATA past the end */
};

/* A short English text for ${err}, without a full stop. Never NULL. */
const char *err_text(int err);

/* The code for the errno value ${e} of a call on the local disk (EINTR, ENOSPC, ENOMEM, ... told apart;
 * everything else is ERR_IO). */
int err_from_errno(int e);

#endif
