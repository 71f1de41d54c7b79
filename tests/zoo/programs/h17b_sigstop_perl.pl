# A grandchild that stops itself; everybody above waits.
use FindBin;
require "$FindBin::Bin/zoo.pl";

my $child = fork // die;
if (!$child) {
    my $grandchild = fork // die;
    if (!$grandchild) {
        kill 'STOP', $$;
        exit 0;
    }
    mark(child => $grandchild);
    waitpid $grandchild, 0;
    exit 0;
}
waitpid $child, 0;
