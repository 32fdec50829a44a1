#!/usr/bin/perl
# A small MCP server of the handshake era in Perl 5, over stdio, with core modules only: a child that shares no
# line of code with any SDK. Everything is one process and one loop; what takes time is a job that the loop resumes.
#
#     perl tests/servers/plain.pl

use strict;
use warnings;
use IO::Select;
use JSON::PP ();
use Time::HiRes qw(time);

my @VERSIONS = qw(2025-11-25 2025-06-18 2025-03-26 2024-11-05);    # newest first
my @LEVELS   = qw(debug info notice warning error critical alert emergency);
my %RANK     = map { $LEVELS[$_] => $_ } 0 .. $#LEVELS;
my $WATCHED  = 'plain://watched';
my $JSON     = JSON::PP->new->utf8->canonical->allow_nonref;
my $TEXT     = JSON::PP->new->canonical;

my $client     = {};         # capabilities of the client
my $level      = 'debug';
my %subscribed = ();
my %jobs       = ();         # id of a slow call, as JSON -> how far it is
my %asked      = ();         # id of a request to the client -> what its answer is for
my $questions  = 0;
my $input      = '';

sub write_line {
    my ($message) = @_;
    my $line = $JSON->encode({ jsonrpc => '2.0', %$message }) . "\n";
    while (length $line) {
        my $written = syswrite STDOUT, $line;
        exit 1 unless defined $written;
        substr $line, 0, $written, '';
    }
}

sub answer  { write_line({ id => $_[0], result => $_[1] }) }
sub refuse  { write_line({ id => $_[0], error => { code => $_[1], message => $_[2], $_[3] ? (data => $_[3]) : () } }) }
sub notify  { write_line({ method => $_[0], $_[1] ? (params => $_[1]) : () }) }
sub content { return { content => [ { type => 'text', text => "$_[0]" } ], $_[1] ? (isError => JSON::PP::true) : () } }

sub object {
    my (%properties) = @_;
    return { type => 'object', properties => {%properties} };
}

sub require_all {
    my (%properties) = @_;
    return { %{ object(%properties) }, required => [ sort keys %properties ] };
}

# -- tools

my $STRING = { type => 'string' };
my %TOOLS  = (
    echo => [ 'Gives its text back.', require_all(text => $STRING), sub { answer($_[0], content($_[1]{text})) } ],
    slow => [
        'Takes `steps` steps of `pause` seconds, with progress for each.',
        object(steps => { type => 'integer' }, pause => { type => 'number' }, key => $STRING),
        \&slow
    ],
    elicit => [ 'Asks the user for a colour.',   object(), sub { ask($_[0], ['elicitation']) } ],
    sample => [ 'Asks the client\'s model.',     object(), sub { ask($_[0], ['sampling']) } ],
    roots  => [ 'Asks for the client\'s roots.', object(), sub { ask($_[0], ['roots']) } ],
    both   => [
        'Asks the user and the client\'s model, at once.',
        object(), sub { ask($_[0], [ 'elicitation', 'sampling' ]) }
    ],
    twice => [
        'Asks the user, and then the client\'s model.',
        object(), sub { ask($_[0], ['elicitation'], ['sampling']) }
    ],
    log    => [
        'Logs a text at a level.',
        require_all(text => $STRING, level => { type => 'string', enum => [@LEVELS] }),
        sub {
            my ($id, $given) = @_;
            my $rank = $RANK{ $given->{level} // 'info' };
            return answer($id, content("There is no level $given->{level}.", 1)) unless defined $rank;
            if ($rank >= $RANK{$level}) {
                notify('notifications/message', { level => $LEVELS[$rank], logger => 'plain', data => $given->{text} });
            }
            answer($id, content('Logged.'));
        }
    ],
    change => [
        'Says that tools, prompts or resources have changed, or one resource to who subscribed to it.',
        require_all(what => { type => 'string', enum => [qw(tools prompts resources watched)] }),
        sub {
            my ($id, $given) = @_;
            my $what = $given->{what} // '';
            if ($what =~ /^(?:tools|prompts|resources)$/) {
                notify("notifications/$what/list_changed");
            } elsif ($subscribed{$WATCHED}) {
                notify('notifications/resources/updated', { uri => $WATCHED });
            }
            answer($id, content('Said so.'));
        }
    ],
    running => [
        'How many calls of `slow` are not finished.',
        object(), sub { answer($_[0], content(scalar keys %jobs)) }
    ],
    cancelled => [
        'Whether a call of `slow` with this key has been cancelled, in whichever process.',
        require_all(key => $STRING),
        sub { answer($_[0], content(-e note_of($_[1]{key}) ? 'yes' : 'no')) }
    ],
    die  => [ 'Ends the process.', object(), sub { exit 3 } ],
    meta => [
        'Gives back what its `_meta` has of others than MCP, and something of its own in its result\'s.',
        object(),
        sub {
            my ($id, $given, $meta) = @_;
            my %own = map { $_ => $meta->{$_} } grep { !m{^io\.modelcontextprotocol/} } keys %$meta;
            my $back = { _meta => { 'example.com/back' => [1] }, example => { a => undef } };
            answer($id, { %{ content($TEXT->encode(\%own)) }, %$back });
        }
    ],
    fail => [ 'Fails.', object(), sub { answer($_[0], content('It failed, as it should.', 1)) } ],
);

sub slow {
    my ($id, $given, $meta) = @_;
    $jobs{ $JSON->encode($id) } = {
        id    => $id,
        key   => $given->{key},
        token => $meta->{progressToken},
        done  => 0,
        steps => $given->{steps} // 3,
        pause => $given->{pause} // 0.05,
        next  => time,
    };
}

sub work {    # does what is due, and returns in how many seconds something is
    my $wait;
    for my $key (sort keys %jobs) {
        my $job = $jobs{$key};
        if ($job->{next} <= time) {
            if ($job->{done} >= $job->{steps}) {
                delete $jobs{$key};
                answer($job->{id}, content("Took $job->{done} steps."));
                next;
            }
            $job->{done}++;
            $job->{next} = time + $job->{pause};
            if (defined $job->{token}) {
                my %step = (progress => $job->{done}, total => $job->{steps}, message => "step $job->{done}");
                notify('notifications/progress', { progressToken => $job->{token}, %step });
            }
        }
        my $left = $job->{next} - time;
        $left = 0     if $left < 0;
        $wait = $left if !defined $wait || $left < $wait;
    }
    return $wait;
}

my $CAPITAL   = { role => 'user', content => { type => 'text', text => 'What is the capital of France?' } };
my %QUESTIONS = (    # capability -> method, parameters, and what an answer is in words
    elicitation => [
        'elicitation/create',
        { message => 'Which colour?', requestedSchema => require_all(colour => $STRING) },
        sub { "The user said $_[0]{action}: " . ($_[0]{content}{colour} // 'nothing') }
    ],
    sampling => [
        'sampling/createMessage',
        { messages => [$CAPITAL], maxTokens => 100 },
        sub { "The model said: $_[0]{content}{text}" }
    ],
    roots => [
        'roots/list', {},
        sub { 'The roots are: ' . join ', ', map { $_->{uri} } @{ $_[0]{roots} } }
    ],
);

sub ask {    # the id of a call, and what it asks: capabilities, in rounds
    my ($call, @rounds) = @_;
    for my $capability (map { @$_ } @rounds) {
        return answer($call, content("The client does not offer $capability.", 1)) unless $client->{$capability};
    }
    ask_next({ call => $call, rounds => [@rounds], said => {}, words => [] });
}

sub ask_next {
    my ($asking) = @_;
    my $round = $asking->{rounds}[0];
    return answer($asking->{call}, content(join '. ', @{ $asking->{words} })) unless $round;
    for my $capability (@$round) {
        my $id = 'plain-' . ++$questions;
        $asked{$id} = { asking => $asking, capability => $capability };
        write_line({ id => $id, method => $QUESTIONS{$capability}[0], params => $QUESTIONS{$capability}[1] });
    }
}

sub answered {
    my ($message) = @_;
    my $asked  = delete $asked{ $message->{id} // '' } or return;
    my $asking = $asked->{asking};
    if (my $error = $message->{error}) {
        forget($asking->{call});
        return answer($asking->{call}, content("The client refused: $error->{message}", 1));
    }
    my $capability = $asked->{capability};
    $asking->{said}{$capability} = $QUESTIONS{$capability}[2]->($message->{result});
    my $round = $asking->{rounds}[0];
    return if grep { !exists $asking->{said}{$_} } @$round;
    push @{ $asking->{words} }, map { $asking->{said}{$_} } @$round;
    shift @{ $asking->{rounds} };
    ask_next($asking);
}

sub forget {    # the questions of a call
    my ($call) = @_;
    for my $question (keys %asked) {
        delete $asked{$question} if $JSON->encode($asked{$question}{asking}{call}) eq $JSON->encode($call);
    }
}

sub note_of {    # where a process leaves word that a call was cancelled, for the others of this server
    my ($key) = @_;
    $key =~ s/[^a-z0-9-]//g;
    return "cancelled-$key";
}

sub cancel {
    my ($id) = @_;
    my $job = delete $jobs{ $JSON->encode($id) };
    if ($job && defined $job->{key}) {
        open my $note, '>', note_of($job->{key}) or die "There is no place for a note: $!";
        close $note;
    }
    forget($id);
}

# -- requests

my %RESOURCES = (
    'plain://note' => [ 'note', 'A note.',              sub { 'Water flows through the penstock.' } ],
    $WATCHED       => [ 'watched', 'Can be subscribed to.', sub { 'Watched.' } ],
);

sub read_resource {
    my ($id, $uri) = @_;
    my $text = $RESOURCES{$uri} ? $RESOURCES{$uri}[2]->() : $uri =~ m{^plain://square/(\d{1,6})$} ? $1 * $1 : undef;
    return refuse($id, -32002, 'Resource not found', { uri => $uri }) unless defined $text;
    answer($id, { contents => [ { uri => $uri, mimeType => 'text/plain', text => "$text" } ] });
}

my %METHODS = (
    'initialize' => sub {
        my ($id, $params) = @_;
        $client = $params->{capabilities} // {};
        my ($same) = grep { $_ eq ($params->{protocolVersion} // '') } @VERSIONS;
        my $changes = { listChanged => JSON::PP::true };
        answer($id, {
            protocolVersion => $same // $VERSIONS[0],
            capabilities    => {
                tools       => $changes,
                prompts     => $changes,
                resources   => { %$changes, subscribe => JSON::PP::true },
                logging     => {},
                completions => {},
            },
            serverInfo => { name => 'plain', version => '1.0.0' },
        });
    },
    'ping'       => sub { answer($_[0], {}) },
    'tools/list' => sub {
        my @all = map { { name => $_, description => $TOOLS{$_}[0], inputSchema => $TOOLS{$_}[1] } } sort keys %TOOLS;
        answer($_[0], { tools => \@all });
    },
    'tools/call' => sub {
        my ($id, $params) = @_;
        my $tool = $TOOLS{ $params->{name} // '' } or return refuse($id, -32602, 'There is no such tool.');
        $tool->[2]->($id, $params->{arguments} // {}, $params->{_meta} // {});
    },
    'prompts/list' => sub {
        my $arguments = [ { name => 'whom', description => 'Who is greeted', required => JSON::PP::true } ];
        answer($_[0], { prompts => [ { name => 'greeting', description => 'A greeting.', arguments => $arguments } ] });
    },
    'prompts/get' => sub {
        my ($id, $params) = @_;
        return refuse($id, -32602, 'There is no such prompt.') unless ($params->{name} // '') eq 'greeting';
        my $text = 'Greet ' . ($params->{arguments}{whom} // 'everybody') . '.';
        answer($id, { messages => [ { role => 'user', content => { type => 'text', text => $text } } ] });
    },
    'completion/complete' => sub {
        my ($id, $params) = @_;
        my $begun  = $params->{argument}{value} // '';
        my @values = grep { index($_, $begun) == 0 } qw(Ada Alan Grace);
        answer($id, { completion => { values => \@values, total => scalar @values, hasMore => JSON::PP::false } });
    },
    'resources/list' => sub {
        my @all;
        for my $uri (sort keys %RESOURCES) {
            push @all, { uri => $uri, name => $RESOURCES{$uri}[0], description => $RESOURCES{$uri}[1] };
        }
        answer($_[0], { resources => \@all });
    },
    'resources/templates/list' => sub {
        my $square = { uriTemplate => 'plain://square/{number}', name => 'square', description => 'The square.' };
        answer($_[0], { resourceTemplates => [$square] });
    },
    'resources/read'        => sub { read_resource($_[0], $_[1]{uri} // '') },
    'resources/subscribe'   => sub { $subscribed{ $_[1]{uri} // '' } = 1;      answer($_[0], {}) },
    'resources/unsubscribe' => sub { delete $subscribed{ $_[1]{uri} // '' };   answer($_[0], {}) },
    'logging/setLevel'      => sub {
        my ($id, $params) = @_;
        return refuse($id, -32602, 'There is no such level.') unless defined $RANK{ $params->{level} // '' };
        $level = $params->{level};
        answer($id, {});
    },
);

sub handle {
    my ($line) = @_;
    my $message = eval { $JSON->decode($line) };
    return refuse(undef, -32700, 'That is not JSON.')       if $@;
    return refuse(undef, -32600, 'That is not a message.') if ref $message ne 'HASH';
    my $method = $message->{method};
    return answered($message) unless defined $method;
    if (!exists $message->{id}) {
        cancel($message->{params}{requestId}) if $method eq 'notifications/cancelled';
        return;
    }
    my $function = $METHODS{$method} or return refuse($message->{id}, -32601, "There is no method $method.");
    $function->($message->{id}, $message->{params} // {});
}

# -- the loop

my $select = IO::Select->new(\*STDIN);
while (1) {
    my $wait = work();
    next unless $select->can_read($wait);
    my $read = sysread STDIN, $input, 65536, length $input;
    last unless $read;
    while ($input =~ s/^([^\n]*)\n//) {
        handle($1) if length $1;
    }
}
