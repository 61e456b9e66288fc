#!/bin/sh
# One submission of the soak mix, 70/20/5/5: it ends well, it fails, it runs out of time, it leaves orphans behind. Says what came
# of it when that is wrong. $RUSTBOX is the program, $place a directory for its output.
# Usage: one.sh NUMBER
case $(($1 % 20)) in
    0) expected=124 program='sleep 60' ;;
    1) expected=0 program='(sleep 60 &) ; :' ;;
    2 | 3 | 4 | 5) expected=7 program='exit 7' ;;
    *) expected=0 program='echo well' ;;
esac
found=0
said=${place:?}/out.$1
"${RUSTBOX:?}" run --quiet --wall-time 300ms --code "$program" > "$said" 2>&1 || found=$?
if [ "$found" = "$expected" ]; then
    rm "$said"
else
    printf 'submission %s ended with %s and not %s: %s\n' "$1" "$found" "$expected" "$(cat "$said")"
    exit 1
fi
