#!/bin/bash
# Runs the kernel package's tests on an emulated CPU with AVX-512 VNNI, for
# machines without one: Bochs boots a Linux kernel whose init is the test
# binary, on a CPU model with VNNI, and writes its console to a file.
#
#   .ci/avx512-emulated.sh [arguments of the test binary]
#
# It needs the Debian packages bochs, vgabios, isolinux, syslinux-common, xorriso
# and cpio, and a kernel image: KERNEL_IMAGE, or one fetched with apt-get. What is
# absent makes it skip with the reason and exit 0; a failed test exits 1.
set -euo pipefail
cd "$(dirname "$0")/.."

model=${CPU_MODEL:-corei7_icelake_u}
limit=${LIMIT_S:-900}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cubby/emulator
isolinux=/usr/lib/ISOLINUX/isolinux.bin
ldlinux=/usr/lib/syslinux/modules/bios/ldlinux.c32
bios=/usr/share/bochs/BIOS-bochs-latest
vgabios=/usr/share/vgabios/vgabios.bin

skip() {
  echo "skipped: $*"
  exit 0
}

for tool in bochs xorriso cpio go; do
  command -v "$tool" >/dev/null || skip "no $tool on this machine"
done
for file in "$isolinux" "$ldlinux" "$bios" "$vgabios"; do
  [ -e "$file" ] || skip "no $file: install the packages named in this script"
done

# fetch_kernel prints the path of a kernel image, from the cache or the
# distribution's package for virtual machines, the smallest there is.
fetch_kernel() {
  local package
  mkdir -p "$cache"
  if ! compgen -G "$cache/boot/vmlinuz-*" >/dev/null; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends:/ {print $2; exit}') || true
    [ -n "$package" ] || return 1
    (cd "$cache" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb . && rm -r "$package"_*.deb lib) >&2 || return 1
  fi
  compgen -G "$cache/boot/vmlinuz-*" | tail -1
}
kernel=${KERNEL_IMAGE:-$(fetch_kernel)} || skip "no kernel image: set KERNEL_IMAGE"

work=$(mktemp -d)
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null || true; rm -rf "$work"' EXIT

mkdir -p "$work/root" "$work/iso"
CGO_ENABLED=0 GOARCH=amd64 go test -c -ldflags='-s -w' -o "$work/root/init" ./runtime/native/kernel
(cd "$work/root" && find . | cpio --quiet -o -H newc) >"$work/iso/initrd"
cp "$kernel" "$work/iso/vmlinuz"
cp "$isolinux" "$ldlinux" "$work/iso/"
cat >"$work/iso/isolinux.cfg" <<EOF
default test
prompt 0
label test
  kernel vmlinuz
  append initrd=initrd console=ttyS0,115200 quiet panic=0 nokaslr mitigations=off clearcpuid=321,323,515,580 -- ${*:--test.v}
EOF
xorriso -as mkisofs -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table "$work/iso"

cat >"$work/bochsrc" <<EOF
display_library: term
cpu: model=$model, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=$bios
vgaromimage: file=$vgabios
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/console
clock: sync=none
log: $work/log
panic: action=fatal
sound: driver=dummy
speaker: enabled=0
EOF
: >"$work/console"
echo c >"$work/continue" # past the prompt of a Bochs with a debugger
(sleep "$limit" | (cd "$work" && TERM=xterm exec script -qec "bochs -q -f bochsrc -rc continue" screen)) >/dev/null 2>&1 &
emulator=$!

# Init's end is the kernel's: it prints the panic after the tests' last line.
for ((waited = 0; waited < limit; waited++)); do
  grep -qE '^(PASS|FAIL)|Kernel panic' "$work/console" && break
  kill -0 "$emulator" 2>/dev/null || break
  sleep 1
done
tr -d '\r' <"$work/console" | sed -n '/^=== RUN/,$p' | grep -v 'Kernel panic' | tee "$work/result" | grep -vE '^ *=== ' || true
if ! grep -q '^PASS' "$work/result"; then
  echo "emulated tests failed, or did not end within $limit s; the console's last lines:"
  tail -20 "$work/console"
  tail -5 "$work/log" "$work/screen" 2>/dev/null || true
  exit 1
fi
grep -q 'avx512vnni' "$work/result" || { echo "the emulated CPU $model lacks AVX-512 VNNI: nothing was proven"; exit 1; }
echo "passed on an emulated $model in $waited s"
