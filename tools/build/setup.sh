# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# setup: everything between a bare Debian with a Rust toolchain and a kernel build.

PACKAGES=(
	make flex bison bc perl libelf-dev libssl-dev cpio kmod rsync    # what kernel builds use
	xz-utils zstd file dwarves git patch gcc libc6-dev
	libc6-dev-i386 gcc-multilib                                      # 32-bit test programs
	qemu-system-x86 udev busybox-static python3 python3-venv         # the virtual machine
	shellcheck mandoc groff graphviz ca-certificates util-linux      # what checks scripts and pages
)
RUSTC_MIN=1.85.0
BINDGEN=0.73.2
VIRTME=1.42
BASE=linux-source-7.3

help_setup() {
	cat <<-END
	Usage: ./build.sh setup [--dry-run] [--tree DIR]

	Installs Debian packages (as root; otherwise says which are missing), and puts into
	$CACHE, touching nothing else of the system:
	  the Rust library source    by rustup, or Debian's rust-src package
	  bindgen-cli $BINDGEN         by cargo install
	  virtme-ng $VIRTME             by pip, and ply and GitPython for checkpatch
	  Linux 7.3                  Debian's $BASE package, unpacked
	About 5 minutes the first time; what is there already is left alone.

	  --dry-run    only say what would be done
	  --tree DIR   base on the newest v7.3* tag of the kernel clone DIR instead of Debian's package
	END
}

verb_setup() {
	parse_options "$@"
	no_args
	if [ -n "$DRY_RUN" ]; then
		setup_all name
	else
		open_cache
		setup_all
		say "setup is complete; next: ./build.sh run, or ./build.sh test"
	fi
}

# setup_all [name]: each part that is missing is made, or with 'name' only named.
setup_all() {
	local part missing
	for part in packages rustc rust_source bindgen virtme base; do
		missing=$("missing_$part") || exit 1
		if [ -z "$missing" ]; then
			[ -z "${1:-}" ] || say "present: $part"
		elif [ -n "${1:-}" ]; then
			say "missing: $missing"
		else
			say "$missing"
			"get_$part"
		fi
	done
}

# The kernel's C compiler, and bindgen's.
compiler_packages() {
	local version
	version=$(llvm_version)
	echo "clang-$version" "lld-$version" "llvm-$version" "libclang-$version-dev"
}

missing_packages() {
	local missing
	command -v dpkg-query >/dev/null ||
		die "this is not a Debian system: install the equivalents of these packages yourself: ${PACKAGES[*]}"
	# shellcheck disable=SC2046
	missing=$(not_installed $(compiler_packages) "${PACKAGES[@]}")
	[ -z "$missing" ] || echo "Debian packages, 2 minutes: $missing"
}
not_installed() {
	local package missing=()
	for package; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done
	echo ${missing[@]+"${missing[@]}"}
}

get_packages() {
	local packages
	[ "$(id -u)" != 0 ] || logged apt-update apt-get update || true # another source may be broken; the next lines say
	packages=$(missing_packages)
	packages=${packages#*: }
	[ -n "$packages" ] || return 0
	need_root "$packages"
	need_space 2500 /usr "installing packages"
	apt_install "$packages" "the Debian packages"
}

# need_root PACKAGES: to install them.
need_root() {
	[ "$(id -u)" = 0 ] || die "these packages are missing and only root can install them: apt-get install --no-install-recommends $1"
}

# apt_install PACKAGES WHAT
apt_install() {
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive logged apt-install \
		apt-get install -y --no-install-recommends $1 || no_download "$2" apt-install
}

# install_packages WHAT-FOR PACKAGE...: those that only one verb needs.
install_packages() {
	local missing what=$1
	shift
	command -v dpkg-query >/dev/null || die "this is not a Debian system: $what are made only on one"
	missing=$(not_installed "$@")
	[ -n "$missing" ] || return 0
	say "Debian packages for $what: $missing"
	need_root "$missing"
	[ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 2>/dev/null)" ] ||
		logged apt-update apt-get update || true
	apt_install "$missing" "the Debian packages $missing"
}

# at_least VERSION MINIMUM
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

missing_rustc() {
	local tool version
	for tool in rustc cargo rustfmt cargo-clippy; do
		command -v $tool >/dev/null || die "$tool is not on PATH: install a Rust toolchain with rustup (rustc $RUSTC_MIN or later, with rustfmt and clippy)"
	done
	version=$(rustc --version | cut -d' ' -f2)
	at_least "$version" $RUSTC_MIN || die "rustc $version is too old, $RUSTC_MIN or later is needed: run 'rustup update stable'"
}
get_rustc() { :; }

missing_rust_source() {
	local library=lib/rustlib/src/rust/library/core/src/lib.rs
	[ -e "$(rustc --print sysroot)/$library" ] || [ -e "$CACHE/rust-src/$(rustc --version | cut -d' ' -f2)" ] ||
		echo "the Rust library source, 30 s"
}
get_rust_source() {
	local version
	version=$(rustc --version | cut -d' ' -f2)
	if command -v rustup >/dev/null && logged rust-src rustup component add rust-src; then return; fi
	fetch_deb rust-src "$version+dfsg"
	TEMPS+=("$CACHE/rust-src.new")
	rm -rf "$CACHE/rust-src.new" "$CACHE/rust-src"
	logged rust-src dpkg-deb -x "$DEB" "$CACHE/rust-src.new" || die "cannot unpack $DEB: remove it and run this again"
	touch "$CACHE/rust-src.new/$version"
	mv "$CACHE/rust-src.new" "$CACHE/rust-src"
}

missing_bindgen() {
	[ "$("$CACHE/bindgen/bin/bindgen" --version 2>/dev/null)" = "bindgen $BINDGEN" ] ||
		echo "bindgen-cli $BINDGEN by cargo, 2 minutes"
}
get_bindgen() {
	CARGO_TARGET_DIR=$CACHE/target/bindgen logged bindgen \
		cargo install --locked bindgen-cli --version $BINDGEN --force --root "$CACHE/bindgen" ||
		no_download "bindgen-cli" bindgen
	rm -rf "$CACHE/target/bindgen"
}

missing_virtme() {
	local modules
	modules=$(echo "$CACHE"/venv/lib/python3*/site-packages)
	[ "$("$CACHE/venv/bin/vng" --version 2>/dev/null)" = "virtme-ng $VIRTME" ] && [ -d "$modules/ply" ] && [ -d "$modules/git" ] ||
		echo "virtme-ng $VIRTME, and for checkpatch ply and GitPython, by pip, 15 s"
}
get_virtme() {
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
		die "python3 on PATH is older than 3.10: put a newer one first in PATH"
	"$CACHE/venv/bin/python3" -m pip --version >/dev/null 2>&1 || rm -rf "$CACHE/venv"
	logged virtme python3 -m venv "$CACHE/venv" || die "python3 cannot make a virtual environment: see $LOG/virtme.log"
	logged virtme "$CACHE/venv/bin/python3" -m pip install "virtme-ng==$VIRTME" ply GitPython || no_download "virtme-ng" virtme
}

# --- the base ----------------------------------------------------------------------------------

missing_base() {
	git -C "$TREE" rev-parse -q --verify base >/dev/null 2>&1 && return
	if [ -n "$CLONE_OF" ]; then
		echo "a clone of $CLONE_OF that shares its objects, 30 s"
	else
		echo "Linux 7.3 from Debian's $BASE package, 160 MB, 1 minute"
	fi
}
get_base() {
	[ -z "$CLONE_OF" ] || { clone_base && return; }
	need_space 3000 "$CACHE" "unpacking the base tree"
	fetch_deb $BASE
	rm -rf "$TREE.new"
	TEMPS+=("$TREE.new")
	logged unpack unpack_base "$DEB" || die "cannot unpack $DEB: $(tail -n 1 "$LOG/unpack.log"); remove it and run this again"
	mv "$TREE.new" "$TREE"
}

# A git repository with the package's tree as the one commit 'base', the same on every machine.
unpack_base() {
	local version
	version=$(dpkg-deb -f "$1" Version) &&
		mkdir "$TREE.new" &&
		echo "unpacking $BASE $version" &&
		dpkg-deb --fsys-tarfile "$1" | tar -xO "./usr/src/$BASE.tar.xz" | tar -xJ --strip-components=1 -C "$TREE.new" &&
		grep -qx 'PATCHLEVEL = 3' "$TREE.new/Makefile" &&
		cd "$TREE.new" &&
		perl -0pi -e 's/\n#\n# Debian packaging: ignore everything.*//s' .gitignore && # it would hide all new files
		git init -q -b kevent . &&
		git config gc.auto 0 &&
		git config user.name kevent && git config user.email kevent@kevent.invalid &&
		echo "adding 100000 files to git" &&
		git add -f -A &&
		GIT_AUTHOR_DATE='1767225600 +0000' GIT_COMMITTER_DATE='1767225600 +0000' \
			git commit -q --no-verify -m "Linux 7.3: Debian's $BASE $version" &&
		git tag base
}

# fetch_deb PACKAGE [VERSION-PREFIX]: sets DEB to the package, downloaded from whichever of Debian's
# newer suites has it, through an apt configuration of our own; apt checks signatures as always.
fetch_deb() {
	local suite mirror version
	DEB=$(find "$CACHE/dl" -maxdepth 1 -name "$1_${2:-}*.deb" | sort -V | tail -n 1)
	[ -z "$DEB" ] || return 0
	mirror=$(debian_mirror)
	[ -n "$mirror" ] || die "apt's sources name no Debian main archive to get $1 from: add one, or give a kernel clone with --tree DIR"
	mkdir -p "$CACHE/apt/lists/partial" "$CACHE/apt/cache/archives/partial"
	cat >"$CACHE/apt/apt.conf" <<-END
	Dir::State "$CACHE/apt";
	Dir::State::status "/dev/null";
	Dir::State::lists "$CACHE/apt/lists";
	Dir::Cache "$CACHE/apt/cache";
	Dir::Etc::sourcelist "$CACHE/apt/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Acquire::Languages "none";
	END
	: >"$LOG/apt-$1.all"
	for suite in trixie-backports sid experimental trixie; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$CACHE/apt/sources.list"
		APT_CONFIG=$CACHE/apt/apt.conf logged "apt-$1" apt-get update -o APT::Get::List-Cleanup=1 || true
		cat "$LOG/apt-$1.log" >>"$LOG/apt-$1.all"
		version=$(APT_CONFIG=$CACHE/apt/apt.conf apt-cache madison "$1" | awk -F'|' '{ gsub(/ /, ""); print $2 }' |
			grep -m1 "^${2:-}") || continue
		rm -rf "$CACHE/dl/partial" && mkdir "$CACHE/dl/partial"
		TEMPS+=("$CACHE/dl/partial")
		if APT_CONFIG=$CACHE/apt/apt.conf logged "apt-$1" download_into "$CACHE/dl/partial" "$1=$version"; then
			mv "$CACHE"/dl/partial/*.deb "$CACHE/dl/"
			DEB=$(find "$CACHE/dl" -maxdepth 1 -name "$1_${2:-}*.deb" | sort -V | tail -n 1)
			return 0
		fi
		cat "$LOG/apt-$1.log" >>"$LOG/apt-$1.all"
	done
	mv "$LOG/apt-$1.all" "$LOG/apt-$1.log"
	no_download "Debian's package $1 ${2:-}" "apt-$1"
}
download_into() { cd "$1" && apt-get download "$2"; }

# The mirror this system gets Debian itself from, whatever form its sources have.
debian_mirror() {
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
		awk -v suite="$codename" '($2 == suite || $2 == "stable") && $3 == "main" && ($4 == "Debian" || $4 == "") { print $1; exit }'
}
