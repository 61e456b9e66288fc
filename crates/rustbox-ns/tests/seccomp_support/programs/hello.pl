use strict;
use warnings;
use Socket;

my $said = `echo hi`;
my $child = fork;
exit 3 unless $child;
waitpid $child, 0;
my $status = $? >> 8;
socketpair my $left, my $right, AF_UNIX, SOCK_STREAM, 0 or die;
print "hello from Perl $status $said";
