# The peer has sent and closed; the program waits for a signal that nothing will send.
use FindBin;
require "$FindBin::Bin/zoo.pl";

my $peer = ask('/close');
mark();
sleep;
