#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches the two libraries of the page from npm, in the versions named here, and lays their built files and licences beside
# this script. Anser ships CommonJS only: its one export line is turned into an ES module's.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() { (cd "$work" && npm pack --silent "$1@$2" >/dev/null && mkdir "$1" && tar xzf "$1-$2.tgz" -C "$1"); }
fetch anser 2.3.5
fetch eventsource-parser 3.1.1
sed 's/^module\.exports = Anser;$/export default Anser;/' "$work/anser/package/lib/index.js" >anser.js
cp "$work/anser/package/LICENSE" anser.LICENSE
sed '/^\/\/# sourceMappingURL/d' "$work/eventsource-parser/package/dist/index.js" >eventsource-parser.js
cp "$work/eventsource-parser/package/LICENSE" eventsource-parser.LICENSE
