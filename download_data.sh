#!/usr/bin/env bash
# Fetch the training data of the challenge (50 zips, 9.5 GB each): ./download_data.sh DATA_ROOT COOKIES [FIRST LAST]
#   COOKIES      cookies.txt (Netscape format) of a browser that is logged in to Kaggle and accepted the rules there
#   FIRST LAST   numbers of the first and the last part to fetch (default: 0 49)
#   KEEP_ZIPS=1  keep each zip once it is unpacked, twice the room
# Each part becomes DATA_ROOT/dfdc_train_part_<k>/. What is there is kept; a download that broke off goes on.
set -euo pipefail
LAST_PART=49
if [ $# -ne 2 ] && [ $# -ne 4 ]; then
    echo "usage: [KEEP_ZIPS=1] $0 DATA_ROOT COOKIES [FIRST LAST]" >&2
    exit 2
fi
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"
BASE_URL=${BASE_URL:-https://www.kaggle.com/c/16880/datadownload}
COOKIES=$2 FIRST=${3-0} LAST=${4-$LAST_PART}
missing=()

stop() { # MESSAGE: the other parts would fail alike
    echo "error: $1" >&2
    exit 1
}

stop_at_login() { # WHAT KAGGLE DID
    stop "$1. Log in to Kaggle in a browser, accept the competition's rules (its Data tab asks for it), export the \
cookies again to $COOKIES and run $0 again"
}

is_zip() { # FILE
    head -c 4 -- "$1" 2>/dev/null | LC_ALL=C grep -q '^PK'
}

# Sets curl's exit code (status) and the answer's code and type. The cookies come by stdin: a name with "=" in it would
# be taken for a cookie.
fetch() { # URL
    local answer
    status=0 code=000 type=
    answer=$(curl --fail --location --retry 2 --cookie - --continue-at - --output "$zip.part" \
        --write-out '%{http_code} %{content_type}' "$1" <"$COOKIES") || status=$?
    read -r code type <<<"$answer" || true
    if [ $status -ge 128 ]; then exit $status; fi # stopped by a signal
}

# After this $zip is there, or `missing` says why not, or the script has stopped.
download() { # NUMBER
    # what a broken answer left there is not to be continued
    if [ -e "$zip.part" ] && ! is_zip "$zip.part"; then rm -f -- "$zip.part"; fi
    fetch "$BASE_URL/$part.zip"
    if [ "$code" = 404 ] && [ "$1" -lt 10 ]; then fetch "$BASE_URL/dfdc_train_part_0$1.zip"; fi # as Kaggle lists them

    if [ $status -eq 6 ]; then stop "no internet here? Run $0 where ${BASE_URL%%/c/*} can be reached"; fi
    if [ $status -eq 23 ]; then stop "$zip.part can't be written: is the disk full? Make room and run $0 again"; fi
    if [ "$code" = 401 ] || [ "$code" = 403 ]; then stop_at_login "Kaggle refuses $part (HTTP $code)"; fi
    if [ -s "$zip.part" ] && ! is_zip "$zip.part"; then
        rm -f -- "$zip.part"
        stop_at_login "Kaggle sent no zip for $part: the cookies have expired, or are not those of a login"
    fi
    if [ "$code" = 200 ] && [[ $type == text/html* ]]; then # curl appended nothing to what was there
        stop_at_login "Kaggle sent a web page for $part: the cookies have expired, or are not those of a login"
    fi
    # 416: nothing is left to send; the run before was stopped before the zip got its name
    if { [ $status -eq 0 ] || [ "$code" = 416 ]; } && [ -s "$zip.part" ]; then
        mv -- "$zip.part" "$zip"
        return
    fi
    # curl's 33: the server can't resume; its 36: the part does not fit. Then the part is of no use.
    if [ $status -eq 33 ] || [ $status -eq 36 ]; then rm -f -- "$zip.part"; fi
    missing+=("$part (download failed, curl's code $status, HTTP $code)")
}

unpack_part() { # FLAGS; sets status
    status=0
    "$PYTHON" "$ROOT/preprocessing/unpack_part.py" "$@" || status=$?
    if [ $status -ge 128 ]; then exit $status; fi # stopped by a signal
}

unpack() {
    unpack_part --zip "$zip" --root-dir "$DATA_ROOT"
    if [ $status -eq 0 ] && [ -d "$DATA_ROOT/$part" ]; then
        if [ "${KEEP_ZIPS:-}" != 1 ]; then rm -f -- "$zip"; fi
    elif [ $status -eq 0 ]; then
        missing+=("$part (another part is in $zip; remove it)")
    else
        missing+=("$part (not unpacked, see above; to have its zip fetched again, remove $zip)")
    fi
}

get_part() { # NUMBER
    part=dfdc_train_part_$1
    zip=$DATA_ROOT/$part.zip
    if [ -e "$DATA_ROOT/$part" ] || [ -L "$DATA_ROOT/$part" ]; then
        unpack_part --check "$DATA_ROOT/$part"
        if [ $status -ne 0 ]; then missing+=("$part (what is there is not complete, see above; remove it)"); fi
        return
    fi
    if [ ! -f "$zip" ]; then
        echo "$part: fetching"
        download "$1"
    fi
    if [ -f "$zip" ]; then unpack; fi
}

for number in "$FIRST" "$LAST"; do
    if ! [[ $number =~ ^[0-9]{1,2}$ ]] || [ "$((10#$number))" -gt $LAST_PART ]; then
        stop "FIRST and LAST: $number is not a whole number from 0 to $LAST_PART"
    fi
done
FIRST=$((10#$FIRST)) LAST=$((10#$LAST)) # 08 is no octal number
if [ "$FIRST" -gt "$LAST" ]; then stop "FIRST and LAST: $FIRST comes after $LAST"; fi
if [ ! -f "$COOKIES" ] || [ ! -r "$COOKIES" ]; then
    stop "COOKIES $COOKIES: there is no such file; export the cookies of a browser that is logged in to Kaggle"
fi
if ! grep -q "^[^	]*	[^	]*	[^	]*	[^	]*	[^	]*	" -- "$COOKIES"; then
    stop "COOKIES $COOKIES: no cookie in it; export them in Netscape format (cookies.txt: seven columns with tabs)"
fi
command -v curl >/dev/null || stop "curl is not installed"
mkdir -p -- "$1" 2>/dev/null || stop "DATA_ROOT $1: can't be made; name a folder that can be written"
DATA_ROOT=$(CDPATH='' cd -- "$1" 2>/dev/null && pwd) || stop "DATA_ROOT $1: can't be entered; name another folder"

for ((number = FIRST; number <= LAST; number++)); do
    get_part $number
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "error: ${#missing[@]} of $((LAST - FIRST + 1)) parts are missing; run $0 again to go on:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
fi
echo "parts $FIRST to $LAST are in $DATA_ROOT"
