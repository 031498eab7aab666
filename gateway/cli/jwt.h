// SPDX-License-Identifier: Apache-2.0
/*
 * Signing JSON Web Tokens (RFC 7519, JWS compact form). The key decides the algorithm, as it does for the
 * gateway that checks: a PEM private key of the curve P-256 is ES256, one of RSA RS256, anything else is the
 * secret of HS256. Any thread.
 */
#pragma once
#include "wire/slice.h"

enum jwt_answer {
    JWT_OK = 0,
    JWT_PUBLIC_KEY = 1,   /* a PEM file without a private key */
    JWT_WRONG_KEY = 2,    /* neither P-256 nor RSA of at least 2048 bits, or protected by a password */
    JWT_SHORT_SECRET = 3, /* less than JWT_SECRET_MIN_BYTES: it could be guessed from a token */
};

enum { JWT_SECRET_MIN_BYTES = 32 }; /* RFC 7518, 3.2 */

/* `claims` is a JSON object as text. *ret_token is malloc'd. An answer, or -ENOMEM, -EIO (OpenSSL failed). */
int jwt_sign(struct sl_slice key, struct sl_slice claims, char **ret_token);
