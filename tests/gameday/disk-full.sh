# The disk of the state directory fills up to the last byte, while the worker is at work.
mount -t tmpfs -o mode=0700,size=128M gameday /var/lib/rustbox
code 0 rustbox run -- true
cat /dev/zero > /var/lib/rustbox/fill 2> /dev/null || true
code 120 rustbox run -- true
sees 'resource_exhaustion' 'bytes free on the disk' 'No space left on device'
follow README 1
sees '"shortage": "[0-9]+ bytes free on the disk' '"can_accept_submissions": false'
follow cleanup-failure 3
sees '100% /var/lib/rustbox'
# A little room: enough to write down what is the matter.
truncate --size=-1M /var/lib/rustbox/fill
code 120 rustbox run -- true
follow worker-quarantine 1
sees '"quarantine_reason": "resource_exhaustion"' '"review_required": false'
follow worker-quarantine 2 1
sees 'too little is left'
code 120 rustbox run -- true
rm /var/lib/rustbox/fill
follow worker-quarantine 2
sees 'the worker is healthy'
