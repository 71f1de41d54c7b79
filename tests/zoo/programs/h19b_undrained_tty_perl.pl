# A frame each 16 ms into a terminal whose other end nobody reads.
use FindBin;
require "$FindBin::Bin/zoo.pl";

use Time::HiRes 'sleep';

mark();
for (my $frame = 0;; $frame++) {
    syswrite STDOUT, "\e[2J\e[Hframe $frame " . '#' x 2000;
    sleep 0.016;
}
