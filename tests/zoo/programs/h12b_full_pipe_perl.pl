# Waits for the end of a child before its output is read, and there is too much of it.
use FindBin;
require "$FindBin::Bin/zoo.pl";

my $child = open my $tool, '-|', $^X, '-e', 'print "x" x 1_000_000';
mark(child => $child);
waitpid $child, 0;
print length(join '', <$tool>), "\n";
