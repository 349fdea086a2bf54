#!/bin/sh
# Builds the ffmpeg that wavepress needs, and no more of it, from the source packages of Debian bookworm:
#     tools/build-ffmpeg.sh DIRECTORY [ARCHITECTURE]
# `make ffmpeg` and the image call it, so this is the only list of what goes into it, with what lies beside it: lame.patch,
# and the library of wavepress-start.c, which starts ffmpeg, and wavepress-peaks.c, which draws waveforms. It needs no
# root, and it works on any Debian or Ubuntu: it has lists and sources of its own, and Debian's archive keyring checks
# them. ARCHITECTURE is Debian's name for the machine that is to run it ("arm64"); another than this machine's needs a
# cross compiler.
#
# Variables: DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR, where bookworm comes from. By default that is where this machine's
# Debian comes from, or deb.debian.org. TMPDIR takes a few hundred MB meanwhile.
#
# Why bookworm's: from version 7 on, ffmpeg hands each frame of sound through five threads, which costs a fifth of the CPU.
set -eu

# PCM is what most WAVs have. The header of ADPCM and GSM goes to ffmpeg with them, so these need the demuxer of WAVs.
pcm=pcm_u8,pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_f64le,pcm_alaw,pcm_mulaw
demuxers=$pcm,wav
decoders=$pcm,adpcm_ima_wav,adpcm_ms,gsm_ms
parsers=gsm
# Those that the service names; ffmpeg itself adds the ones behind -t, -ac and -ar.
filters=aresample,pan,channelmap,aformat,anull
# `null` is for measuring.
muxers=mp3,null,pcm_s16le

# LAME decides how fast an encode is. Its configure sets no optimization at all for a gcc that it does not know. With
# -ffp-contract=off every variant writes the same bytes as Debian's own; a fused multiply-add rounds differently.
hardening="-fstack-protector-strong -D_FORTIFY_SOURCE=2"
cflags="-O3 -fno-math-errno -fno-trapping-math -ffp-contract=off $hardening"
ldflags="-Wl,-z,relro -Wl,-z,now"

fail() {
    echo "$1" >&2
    exit 1
}

# Where this machine's own Debian comes from: `debian_mirror SUFFIX DEFAULT`, for its release with that suffix.
debian_mirror() {
    codename=$(. /etc/os-release && test "$ID" = debian && echo "${VERSION_CODENAME:-}") || codename=
    # shellcheck disable=SC2016 # apt's variables
    found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME)' 'Created-By: Packages' |
        awk -v name="$codename$1" '/^https?:/ && ($2 == name || $3 == name) { print $1; exit }')
    echo "${found:-$2}"
}

require() {
    for tool in apt-get apt-cache dpkg; do
        command -v "$tool" >/dev/null || fail "There is no $tool: this needs Debian or Ubuntu."
    done
    architecture=${1:-$(dpkg --print-architecture)}
    packages="build-essential debian-archive-keyring"
    case $architecture in amd64) packages="$packages nasm" ;; esac
    command -v dpkg-architecture >/dev/null || fail_for_packages
    cross='' target=$(dpkg-architecture --host-arch "$architecture" --query DEB_HOST_GNU_TYPE 2>/dev/null) ||
        fail "dpkg knows no architecture $architecture."
    if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
        cross=$target-
        packages="$packages gcc-$(echo "$target" | tr _ -) libc6-dev-$architecture-cross"
    fi
    case $packages in *nasm*) command -v nasm >/dev/null || fail_for_packages ;; esac
    for tool in "${cross}gcc" make dpkg-source; do
        command -v "$tool" >/dev/null || fail_for_packages
    done
    choose_compiler
    for keyring in /usr/share/keyrings/debian-archive-keyring.pgp /usr/share/keyrings/debian-archive-keyring.gpg; do
        test ! -r "$keyring" || return 0
    done
    fail_for_packages
}

# What gcc 14 makes of LAME takes 8 % more CPU than what gcc 12 and 13 do.
choose_compiler() {
    compiler=${cross}gcc
    test "$("$compiler" -dumpversion | cut -d . -f 1)" -gt 13 || return 0
    for version in 12 13; do
        ! command -v "${cross}gcc-$version" >/dev/null || compiler=${cross}gcc-$version
    done
    test "$compiler" != "${cross}gcc" ||
        echo "gcc $("$compiler" -dumpversion) will do. With gcc-13 or gcc-12, the encoder takes 8 % less CPU."
}

fail_for_packages() {
    fail "Something that builds ffmpeg is missing. Run: sudo apt install $packages"
}

prepare_apt() {
    mirror=${DEBIAN_MIRROR:-$(debian_mirror '' http://deb.debian.org/debian)}
    security=${DEBIAN_SECURITY_MIRROR:-$(debian_mirror -security http://deb.debian.org/debian-security)}
    mkdir -p apt/lists/partial apt/archives/partial
    : >apt/status
    {
        echo "deb-src [signed-by=$keyring] $mirror bookworm main"
        echo "deb-src [signed-by=$keyring] $security bookworm-security main"
    } >apt/sources.list
    # Read after the machine's own configuration, so that its proxies count and its sources, pins and hooks do not.
    cat >apt/apt.conf <<EOF
#clear APT::Update;
APT::Update::Error-Mode "any";
Dir::Etc::sourcelist "$PWD/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$PWD/apt";
Dir::State::lists "$PWD/apt/lists";
Dir::State::status "$PWD/apt/status";
Dir::Cache "$PWD/apt";
EOF
    # As root, apt fetches as a user of its own, who must be able to come here.
    if [ "$(id -u)" = 0 ]; then
        chmod 755 .
        chown _apt sources 2>/dev/null || true
    fi
}

# The newest source packages, each with its checksum, this script's own and the patch's: what the result is made of.
describe() {
    echo "Made by wavepress' tools/build-ffmpeg.sh, for $architecture, from these source packages of Debian bookworm."
    echo "Get them with \`apt-get source\`, or from https://snapshot.debian.org."
    echo
    apt-get --config-file=apt/apt.conf source --print-uris ffmpeg lame | awk '/\.dsc /{ print $2, $4 }'
    echo "Compiled by $("$compiler" --version | head -n 1)"
    for file in "$script" "$lame_patch" "$start" "$peaks"; do
        sha256sum <"$file" | awk -v name="${file##*/}" '{ print name " SHA256:" $1 }'
    done
}

unpack() {
    (cd sources && apt-get --quiet --quiet --config-file=../apt/apt.conf source ffmpeg lame)
    mv sources/ffmpeg-5.1*/ ffmpeg
    mv sources/lame-3.100*/ lame
    patch --directory lame --strip 1 --fuzz 0 <"$lame_patch"
}

# `build_lame DIRECTORY FLAGS`: puts the library and its header there.
build_lame() {
    make --directory lame/libmp3lame clean
    make --directory lame/libmp3lame --jobs "$jobs" CFLAGS="$cflags $2"
    for part in libmp3lame include; do
        make --directory "lame/$part" install prefix="$PWD/$1"
    done
}

build_lames() {
    (cd lame && ./configure ${cross:+--host="$target"} CC="$compiler" CFLAGS="$cflags" LDFLAGS="$ldflags" --disable-static \
        --disable-frontend --disable-decoder --disable-analyzer-hooks --disable-dependency-tracking)
    build_lame lame-base ""
    if [ "$architecture" = amd64 ]; then
        build_lame lame-v2 -march=x86-64-v2
        build_lame lame-v3 -march=x86-64-v3
    fi
}

build_ffmpeg() {
    cd ffmpeg
    ./configure --disable-everything --disable-autodetect --disable-debug --disable-doc --disable-network \
        --disable-programs --enable-ffmpeg --disable-avdevice --disable-swscale --disable-pthreads \
        --enable-libmp3lame --enable-encoder=libmp3lame,pcm_s16le --enable-protocol=file,pipe \
        --enable-demuxer="$demuxers" --enable-decoder="$decoders" --enable-parser="$parsers" \
        --enable-filter="$filters" --enable-muxer="$muxers" \
        ${cross:+--enable-cross-compile --cross-prefix="$cross" --target-os=linux --arch="${target%%-*}"} --cc="$compiler" \
        --extra-cflags="-I../lame-base/include $hardening -fPIE" --extra-ldflags="-L../lame-base/lib $ldflags" \
        --extra-ldexeflags="-pie -Wl,--enable-new-dtags"
    # The linker takes the place of LAME from this variable, because no `$` of an option outlives configure and make.
    # shellcheck disable=SC2016 # it is for the loader
    LD_RUN_PATH='$ORIGIN/../lib' make --jobs "$jobs" ffmpeg
    cd ..
}

build_ours() {
    # shellcheck disable=SC2086 # these are several options
    "$compiler" -std=c11 -D_GNU_SOURCE -O3 -Wall -Wextra -Werror -fPIC -shared $hardening $ldflags \
        -o libwavepress.so "$start" "$peaks"
}

# The loader takes the newest variant of LAME that the CPU can run; an older loader takes the one for any CPU.
collect() {
    install -D -m 755 ffmpeg/ffmpeg -t result/bin
    install -D -m 644 lame-base/lib/libmp3lame.so.0 libwavepress.so -t result/lib
    for level in v2 v3; do
        test ! -d "lame-$level" || install -D -m 644 "lame-$level/lib/libmp3lame.so.0" \
            "result/lib/glibc-hwcaps/x86-64-$level/libmp3lame.so.0"
    done
    find result -type f -exec "${cross}strip" {} +
    for name in ffmpeg lame; do
        install -D -m 644 "$name/debian/copyright" "result/share/doc/$name/copyright"
    done
    install -m 644 ffmpeg/COPYING.LGPLv2.1 ffmpeg/COPYING.GPLv2 result/share/doc/ffmpeg/
    install -m 644 lame/COPYING lame/LICENSE "$lame_patch" result/share/doc/lame/
    install -m 644 description result/share/doc/SOURCES
}

# `quietly WHAT COMMAND`: shows what a command says only if it fails. Not in a condition, where -e would not hold.
quietly() {
    doing=$1 log=$PWD/log
    shift
    "$@" >"$log" 2>&1
    log=''
}

finish() {
    status=$?
    if [ -n "$interrupted" ]; then
        echo "Stopped: nothing was installed." >&2
        status=130
    elif [ "$status" != 0 ] && [ -n "$log" ]; then
        tail -n 30 "$log" >&2
        echo "$doing failed; above is the end of what it said." >&2
    fi
    rm -rf "$work"
    exit "$status"
}

test "$#" -ge 1 || fail "usage: $0 DIRECTORY [ARCHITECTURE]"
mkdir -p "$(dirname "$1")"
result=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
lame_patch=$(dirname "$script")/lame.patch
start=$(dirname "$script")/wavepress-start.c
peaks=$(dirname "$script")/wavepress-peaks.c
require "${2:-}"
jobs=$(nproc) log='' doing='' interrupted=''
work=$(mktemp -d)
trap finish EXIT
trap 'interrupted=yes; exit 130' INT TERM
cd "$work"
mkdir sources
prepare_apt
echo "Fetching the sources of ffmpeg 5.1 and LAME from $mirror"
quietly "Fetching Debian's list of sources" apt-get --quiet --config-file=apt/apt.conf update
describe >description
if cmp -s description "$result/share/doc/SOURCES"; then
    echo "$result is up to date"
    exit
fi
quietly "Fetching the sources" unpack
echo "Building them into $result: a minute or two"
quietly "Building LAME" build_lames
quietly "Building ffmpeg" build_ffmpeg
quietly "Building libwavepress" build_ours
quietly "Collecting what was built" collect
# In two moves, so that a service that runs finds the old one or the new one, except for an instant.
rm -rf "$result.new" "$result.old"
cp -R result "$result.new"
test ! -e "$result" || mv "$result" "$result.old"
mv "$result.new" "$result"
rm -rf "$result.old"
echo "Done: $result/bin/ffmpeg. A service uses it from its next start."
