# A model call over a plain socket: the request is out, the answer never comes.
use FindBin;
require "$FindBin::Bin/zoo.pl";

my $peer = ask('/hang');
mark();
sysread $peer, my $answer, 4096;
