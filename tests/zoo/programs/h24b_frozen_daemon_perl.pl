# Waits for a daemon that is stopped.
use FindBin;
require "$FindBin::Bin/zoo.pl";

my $daemon = IO::Socket::UNIX->new(Peer => "$ENV{ZOO_DIR}/daemon.sock") or die;
syswrite $daemon, "list\n";
mark();
sysread $daemon, my $answer, 4096;
