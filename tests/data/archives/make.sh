#!/bin/sh
# Makes the archives beside it: the directory of a `chatto backup` with a stream name of 255 bytes, packed
# by tars whose way of writing long names differs. Needs: bsdtar (libarchive-tools), go, python3.
# Made with bsdtar 3.6.2, go 1.26 and Python 3.11.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
name=$(printf 'N%.0s' $(seq 255))
mkdir -p "backup/streams/$name"
cat >backup/manifest.json <<END
{"version":1,"created_at":"2026-08-01T00:00:00Z","streams":[{"name":"$name","type":"stream","messages":1,"bytes":9}],"stats":{}}
END
echo '{}' >"backup/streams/$name/backup.json"
echo snapshot >"backup/streams/$name/stream.tar.s2"

bsdtar -cf "$here/bsdtar.tar" ./backup
bsdtar -cf "$here/bsdtar-gnu.tar" --format gnutar backup

cat >main.go <<'END'
package main

import (
	"archive/tar"
	"os"
)

func main() {
	w := tar.NewWriter(os.Stdout)
	if err := w.AddFS(os.DirFS("root")); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
}
END
mkdir root
cp -r backup root/
go run main.go >"$here/go.tar"

python3 - "$here" <<'END'
import sys, tarfile
with tarfile.open(sys.argv[1] + "/python-gnu.tar", "w", format=tarfile.GNU_FORMAT) as tar:
    tar.add("backup")
headers = {"comment": "a global header"}
with tarfile.open(sys.argv[1] + "/python-pax.tar", "w", format=tarfile.PAX_FORMAT, pax_headers=headers) as tar:
    tar.add("backup")
END
