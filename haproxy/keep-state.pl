#!/usr/bin/env perl
# Keeps on disk which routers HAProxy knows, so that a reload, or a start, without Consul's DNS has them at once.
# HAProxy reads that file (server-state-file) and never writes it, so its master runs this beside its worker: each second
# it asks the worker's socket. It needs nothing but what perl itself brings, and ends with the master.
use strict;
use warnings;
use Socket;

my ($folder, $port, $consul) = @ENV{qw(STATE_DIR MESH_PORT CONSUL_DNS)};
my $path = "$folder/mesh-$port-$consul.state";
# An abstract address, which HAProxy fills up with zeros to its whole length.
my $address = pack 'S a108', AF_UNIX, "\0mesh-$port";
# A router that is down for so many seconds is not kept: what is read back stays until DNS names it.
my $lost = 3600;
my ($ADDRESS, $OPERATIONAL, $SINCE) = (4, 5, 9);

sub state {
    socket my $worker, AF_UNIX, SOCK_STREAM, 0 or return;
    connect $worker, $address or return;
    syswrite $worker, "show servers state routers\n" or return;
    local $/;
    return <$worker>;
}

# The version, the names of the columns, and a line for each router that has an address.
sub kept {
    my ($version, $columns, @rows) = split /\n/, shift;
    my @routers = grep {
        my @fields = split / /;
        @fields > $SINCE && $fields[$ADDRESS] ne '-' && !($fields[$OPERATIONAL] eq '0' && $fields[$SINCE] > $lost);
    } @rows;
    # Without any router there is nothing to keep: the last that was known is worth more.
    return @routers ? join("\n", $version, $columns, @routers) . "\n" : undef;
}

# Never half a file: written beside it, then put in its place.
sub keep {
    my $new = "$path.$$";
    open my $file, '>', $new or return "$new: $!";
    print {$file} shift and close $file and rename $new, $path and return '';
    my $problem = "$path: $!";
    unlink $new;
    return $problem;
}

$SIG{TERM} = $SIG{INT} = $SIG{USR1} = sub { exit 0 };
$SIG{PIPE} = 'IGNORE';
my ($master, $told) = (getppid, '');
while (getppid == $master) {
    sleep 1;
    # A worker that hangs is no reason to hang.
    my $text = eval { local $SIG{ALRM} = sub { die }; alarm 2; my $text = state(); alarm 0; $text };
    my $now = defined $text ? kept($text) : undef;
    next unless defined $now;
    my $problem = keep($now);
    print STDERR "routers are not kept for a reload: $problem (STATE_DIR)\n" if $problem && $problem ne $told;
    $told = $problem;
}
