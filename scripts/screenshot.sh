#!/bin/sh
# Pictures of a report, wide and narrow, light and dark, with the network off: scripts/screenshot.sh REPORT.html OUT_FOLDER
# Needs Chromium (Debian: apt-get install chromium); CHROMIUM names another binary.
set -eu
report=$(realpath "$1")
out=$2
mkdir -p "$out"
for width in 1400 400; do
  for theme in light dark; do
    # 0 is dark and 1 is light in Blink's setting
    if [ "$theme" = dark ]; then scheme=0; else scheme=1; fi
    "${CHROMIUM:-chromium}" --headless --no-sandbox --disable-gpu --hide-scrollbars --proxy-server=127.0.0.1:9 \
      --blink-settings=preferredColorScheme=$scheme --window-size=$width,${HEIGHT:-6000} \
      --screenshot="$out/report-$width-$theme.png" "file://$report" 2>/dev/null
  done
done
ls "$out"
