// SPDX-License-Identifier: Apache-2.0
#include "tls.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int refuse(char why[TLS_WHY_BYTES], const char *option, const char *file, const char *sentence)
{
    snprintf(why, TLS_WHY_BYTES, "%s %.400s: %s", option, file, sentence);
    return 1;
}

static int check(SSL_CTX *context, const char *cert_file, const char *key_file, char why[TLS_WHY_BYTES])
{
    static char no_passphrase[] = "";
    if (access(cert_file, R_OK) < 0)
        return refuse(why, "--tls-cert", cert_file, strerror(errno));
    if (access(key_file, R_OK) < 0)
        return refuse(why, "--tls-key", key_file, strerror(errno));
    SSL_CTX_set_default_passwd_cb_userdata(context, no_passphrase); /* nobody is asked at the terminal */
    if (SSL_CTX_use_certificate_chain_file(context, cert_file) != 1)
        return refuse(why, "--tls-cert", cert_file, "holds no certificate that can be used (PEM)");
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return refuse(why, "--tls-key", key_file, "is not the key of --tls-cert, or is encrypted, or no PEM");
    return 0;
}

int tls_check(const char *cert_file, const char *key_file, char why[TLS_WHY_BYTES])
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    int answer = context ? check(context, cert_file, key_file, why)
                         : refuse(why, "--tls-cert", cert_file, "there is no memory for it");
    SSL_CTX_free(context);
    ERR_clear_error(); /* lws would take what is left there for its own */
    return answer;
}
