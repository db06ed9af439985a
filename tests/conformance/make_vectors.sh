#!/usr/bin/env bash
# Remake every vector with OpenSSH's own tools (Debian 12: OpenSSH 9.2p1). The keys are thrown away:
# they protect nothing, and are committed so that the tests need no program.
# usage: tests/conformance/make_vectors.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/vectors}
work=$(mktemp -d)
export TZ=UTC
agent_pid=
finish() {
    [ -z "$agent_pid" ] || kill "$agent_pid"
    rm -rf "$work"
}
trap finish EXIT
cd "$work"

# vector FOLDER/NAME OUTCOME COMMAND [HEADER...] < payload
vector() {
    local file="$out/$1" outcome=$2 command=$3
    shift 3
    mkdir -p "$(dirname "$file")"
    {
        printf '%s\n' "outcome: $outcome" "made-by: $command" "$@" ''
        cat
    } >"$file"
}
keygen() {
    made="ssh-keygen -q$(printf ' %q' "$@")"
    ssh-keygen -q "$@"
}
prints() { ssh-keygen -lf "$1" -E "$2" | cut -d' ' -f2; }

for folder in pubkey cert privkey signature; do rm -rf "${out:?}/$folder"; done

# --- public and plain private keys
for spec in ed25519: ecdsa:256 ecdsa:384 ecdsa:521 rsa:1024 rsa:2048 rsa:3072; do
    type=${spec%%:*} bits=${spec#*:} name=${spec//:/}
    keygen -t "$type" ${bits:+-b "$bits"} -N '' -C "$name at example" -f "$name"
    vector "pubkey/$name.txt" ok "$made" "comment: $name at example" \
        "sha256: $(prints "$name.pub" sha256)" "sha512: $(prints "$name.pub" sha512)" <"$name.pub"
    vector "privkey/plain/$name.txt" ok "$made" "comment: $name at example" \
        "public: $(cut -d' ' -f1,2 "$name.pub")" <"$name"
done
keygen -t dsa -N '' -C 'dsa at example' -f dsa
vector pubkey/dsa.txt ok "$made" "comment: dsa at example" \
    "sha256: $(prints dsa.pub sha256)" "sha512: $(prints dsa.pub sha512)" <dsa.pub
vector privkey/dsa.txt cannot_sign "$made" "comment: dsa at example" \
    "public: $(cut -d' ' -f1,2 dsa.pub)" <dsa
sed 's/AAAA[^ ]*/&AAAA/' ed25519.pub | vector pubkey/trailing.txt malformed "append three bytes to the blob"
cut -c1-60 ed25519.pub | vector pubkey/truncated.txt truncated "cut -c1-60 ed25519.pub"
sed 's/^ssh-ed25519/ssh-rsa/' ed25519.pub |
    vector pubkey/other-name.txt malformed "sed s/^ssh-ed25519/ssh-rsa/ ed25519.pub"

# --- encrypted private keys: every cipher that ssh-keygen -Z writes
for cipher in $(ssh -Q cipher); do
    name=${cipher%@openssh.com}
    keygen -t ed25519 -N 'correct horse' -Z "$cipher" -a 4 -C "sealed with $name" -f "sealed-$name"
    vector "privkey/encrypted/$name.txt" ok "$made" "comment: sealed with $name" \
        "passphrase: correct horse" "public: $(cut -d' ' -f1,2 "sealed-$name.pub")" <"sealed-$name"
done
for cipher in aes256-ctr aes256-gcm chacha20-poly1305; do
    vector "privkey/refused/wrong-passphrase-$cipher.txt" passphrase "the key of encrypted/$cipher.txt" \
        "passphrase: wrong horse" <"sealed-$cipher"
done
vector privkey/refused/no-passphrase.txt passphrase "the key of encrypted/aes256-ctr.txt" <sealed-aes256-ctr
keygen -t ed25519 -N 'correct horse' -a 2000 -f slow
vector privkey/refused/too-many-rounds.txt unsupported "$made" "passphrase: correct horse" <slow
for format in PEM PKCS8; do
    keygen -t ecdsa -m $format -N '' -f "old-$format"
    vector "privkey/refused/${format,,}.txt" unsupported "$made" <"old-$format"
done
sed '$d' ed25519 | vector privkey/refused/no-end.txt malformed "sed '\$d' ed25519"

# --- certificates
certify() { # NAME KEY OUTCOME ARGUMENTS...
    local name=$1 key=$2 outcome=$3
    shift 3
    cp "$key.pub" cert-key.pub
    keygen "$@" cert-key.pub
    vector "cert/$name.txt" "$outcome" "$made (cert-key.pub is $key.pub)" \
        "plain: $(cut -d' ' -f1,2 "$key.pub")" "${headers[@]}" <cert-key-cert.pub
    rm cert-key*
}
headers=("serial: 42" "type: USER" "key-id: everything at once" "principals: alice,bob"
    "valid-after: 1577836800" "valid-before: 1893456000"
    "critical-options: force-command,source-address" "extensions: permit-X11-forwarding,permit-user-rc")
certify user-everything ed25519 ok -s ed25519 -I 'everything at once' -n alice,bob -z 42 \
    -V 20200101:20300101 -O clear -O force-command=/bin/true -O source-address=127.0.0.1/32 \
    -O permit-x11-forwarding -O permit-user-rc
headers=("serial: 0" "type: HOST" "key-id: host" "principals: host.example" "valid-after: 0"
    "valid-before: 18446744073709551615" "critical-options: " "extensions: ")
certify host-forever ecdsa256 ok -s ecdsa521 -h -I host -n host.example
headers=("serial: 18446744073709551615" "type: USER" "key-id: " "principals: " "valid-after: 0"
    "valid-before: 18446744073709551615" "critical-options: " "extensions: ")
certify user-nobody rsa2048 ok -s rsa2048 -t rsa-sha2-256 -I '' -z 18446744073709551615 -O clear
headers=("serial: 0" "type: HOST" "key-id: old" "principals: " "valid-after: 0"
    "valid-before: 18446744073709551615" "critical-options: " "extensions: ")
certify host-sha1 ecdsa384 sha1_refused -s rsa2048 -t ssh-rsa -h -I old
certify host-ecdsa521 ecdsa521 ok -s ecdsa384 -h -I old

# --- raw signatures, by ssh-agent
eval "$(ssh-agent -a "$work/agent")" >/dev/null
agent_pid=$SSH_AGENT_PID
ssh-add -q ed25519 ecdsa256 ecdsa384 ecdsa521 rsa1024 rsa2048
sign() { # NAME KEY FLAGS OUTCOME [DATA SAID TO BE SIGNED] [KEY SAID TO HAVE SIGNED]
    python3 "$here/agent_sign.py" "$2.pub" "$3" 'signed data' |
        vector "signature/$1.txt" "$4" "ssh-agent, sign request with flags $3 over 'signed data'" \
            "key: $(cut -d' ' -f1,2 "${6:-$2}.pub")" "data: ${5:-signed data}"
}
sign ed25519 ed25519 0 ok
sign ecdsa256 ecdsa256 0 ok
sign ecdsa384 ecdsa384 0 ok
sign ecdsa521 ecdsa521 0 ok
sign rsa-sha2-256 rsa2048 2 ok
sign rsa-sha2-512 rsa2048 4 ok
sign rsa-both-flags rsa1024 6 ok
sign rsa-sha1 rsa2048 0 sha1_refused
sign other-data ed25519 0 bad_signature 'other data'
sign other-data-rsa rsa2048 4 bad_signature 'other data'
sign other-key rsa2048 4 bad_signature '' rsa1024
sign other-type ecdsa256 0 algorithm_mismatch '' ed25519
