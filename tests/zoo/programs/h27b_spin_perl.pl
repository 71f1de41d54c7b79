# A loop whose end never comes.
use FindBin;
require "$FindBin::Bin/zoo.pl";

mark();
my $n = 0;
while (1) { $n = ($n + 1) % 7 }
