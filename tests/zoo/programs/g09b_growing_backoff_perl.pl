# Tries again with longer and longer pauses; the limit resets in an hour.
use FindBin;
require "$FindBin::Bin/zoo.pl";

mark();
for (my $pause = 60;; $pause *= 2) {
    print "429, next try in $pause s\n";
    select undef, undef, undef, scaled($pause);
}
