// SPDX-License-Identifier: Apache-2.0
#include "openapi.h"

/* The assembler reads the file: no build step, and the object depends on it (CMakeLists.txt). */
__asm__(".section .rodata\n"
        "openapi_begin: .incbin \"" OPENAPI_FILE "\"\n"
        "openapi_end:\n"
        ".previous\n");
extern const uint8_t openapi_begin[], openapi_end[];

struct sl_slice openapi_bytes(void)
{
    return sl_slice(openapi_begin, (size_t)(openapi_end - openapi_begin));
}
