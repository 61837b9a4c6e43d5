# A real browser, and what reads its prints: found, or installed by apt.
# Must never print to anything but the file that is named. Sourced by `print` and `drill`, which know `room`.
# shellcheck shell=bash

# shellcheck source=../tools.sh
source "${BASH_SOURCE[0]%/*}/../tools.sh"
readonly PACKAGES=(chromium poppler-utils zbar-tools fonts-dejavu-core)

has_programs() {
    command -v chromium && command -v pdftoppm && command -v pdftotext && command -v zbarimg
} >/dev/null

# Ends the script with 77 where they are missing and cannot be installed.
needs_programs() {
    has_programs || install_debian "${PACKAGES[@]}" || true
    has_programs || cannot_run "a browser, pdftoppm and zbarimg are needed: ${PACKAGES[*]}"
}

# print_page HTML PDF
print_page() {
    # shellcheck disable=SC2154  # room is of those who source this
    timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-component-update --disable-background-networking --disable-sync --no-pdf-header-footer \
        --user-data-dir="$room/profile-$(basename "$2" .pdf)" \
        --print-to-pdf="$2" "file://$1" >"$room/chromium" 2>&1 || { cat "$room/chromium"; return 1; }
}
