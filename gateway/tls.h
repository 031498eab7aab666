// SPDX-License-Identifier: Apache-2.0
/*
 * Are these files what HTTPS can be served with? lws does not say why it can't, and at a reload takes the
 * certificate before it looks at the key (4.1.6): a key of another one would end TLS until the next reload.
 * Any thread.
 */
#pragma once

enum { TLS_WHY_BYTES = 600 };
/* > 0: they are not, and why holds a sentence that names the option and the file. */
int tls_check(const char *cert_file, const char *key_file, char why[TLS_WHY_BYTES]);
