#!/usr/bin/env bash
# Build on disks that are too small, then enlarge each and resume: a clear error first, the same result after.
# Needs root (mount). Prints one line per size.
set -u
recipe=${1:-recipes/quickstart.yaml}
tilth=${TILTH:-.venv/bin/tilth}
folder=$(mktemp -d)
trap 'umount "$folder/disk" 2>/dev/null; rm -rf "$folder"' EXIT
mkdir "$folder/disk"
digest() { (cd "$1" && find export plan -type f | sort | xargs sha256sum | sha256sum | cut -c1-16); }
$tilth build "$recipe" --out "$folder/whole" --workers 1 >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
whole=$(digest "$folder/whole")
for size in 1M 2M 3M 4M 6M 8M; do
  mount -t tmpfs -o size=$size tmpfs "$folder/disk" || exit 1
  said=$($tilth build "$recipe" --out "$folder/disk/out" --workers 1 2>&1 >/dev/null); code=$?
  mount -o remount,size=200M "$folder/disk"
  $tilth build "$recipe" --out "$folder/disk/out" --workers 1 >/dev/null 2>"$folder/log"; after=$?
  same=no; [ "$after" = 0 ] && [ "$(digest "$folder/disk/out")" = "$whole" ] && same=yes
  printf '%-4s exit %s, then %s, identical: %s | %s\n' "$size" "$code" "$after" "$same" "$(echo "$said" | tail -1 | cut -c1-160)"
  umount "$folder/disk"
done
