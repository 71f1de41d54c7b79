# Waits for a lock file that another process holds.
use FindBin;
require "$FindBin::Bin/zoo.pl";

open my $lock, '>>', "$ENV{ZOO_DIR}/lock" or die;
mark();
flock $lock, 2;
print "mine\n";
