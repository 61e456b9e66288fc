# Runs the job on the console, tells its exit code behind the word that the host waits for, and stops the machine.
exec < /dev/null > /dev/console 2>&1
stty -F /dev/console -onlcr 2> /dev/null
read -r marker < /guest/marker
code=0
bash /guest/job.sh || code=$?
if [ "$code" != 0 ]; then
    systemctl --no-pager --failed
    journalctl --no-pager --lines 80
fi
echo "$marker $code"
sync
# With -no-reboot this ends QEMU, and faster than a shutdown.
reboot --force --force
