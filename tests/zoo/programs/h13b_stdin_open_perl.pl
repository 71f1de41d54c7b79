# Reads more input from a standard input that somebody left open.
use FindBin;
require "$FindBin::Bin/zoo.pl";

print "Reading additional input from stdin...\n";
mark();
my @lines = <STDIN>;
print scalar @lines, "\n";
