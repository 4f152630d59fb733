//! Codes of errors: what a person who meets one reads on about, in `docs/errors.md` or wherever else it is told.
//!
//! A closed set. A number is given once and never means something else later; who reads a code of a newer version shows it as it
//! came. It knows causes and remedies in one line each, and nothing of where an error is met.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal, because $cause:literal, $remedy:literal;)*) => {
        /// What went wrong, as a number that stays.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code there is, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its number: `UP-` and three digits.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $number,)* }
            }

            /// What went wrong, in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Why that happens: one line.
            #[must_use]
            pub fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)* }
            }

            /// What to do about it: one line.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    // The command line, settings, files.
    CommandLine = "UP-101", "the command line is wrong",
        because "a flag, an argument, or a variable that stands for one, is missing, misspelt or out of bounds",
        "put right what the message names; `--help` behind the command shows what it takes";
    Settings = "UP-102", "the settings have mistakes",
        because "a file of settings, or a file that it names, cannot be read or says what is not understood",
        "put right each place that is named, then let `underpass check FILE` read it again";
    Unfitting = "UP-103", "the settings do not fit what is there",
        because "the settings are right in themselves, but not for this state directory, token, CA or command",
        "change the setting or the file that the message names, so that both say the same";
    NotRunning = "UP-104", "it could not be done, or could not go on",
        because "the system refused something (an address in use, a directory that cannot be written), or a part failed",
        "read the message for what was in the way, put that right, and start it again";
    NotWritten = "UP-105", "the result could not be written",
        because "standard output or the file that was to take the result did not take it",
        "make room, or name a place that can be written; then ask again";
    CertificateEnds = "UP-106", "a listener's certificate ends soon, or has",
        because "the certificate that a listener shows has not been renewed in time",
        "replace the file that is named: it is read again as soon as it is there";
    NotRecorded = "UP-107", "a change is in force but not recorded",
        because "the edge's state directory could not be written, so a restart would undo the change",
        "mend that (a full disk, most likely), then ask for the same again";
    ReloadRefused = "UP-108", "a reload was refused",
        because "what was read anew has mistakes, or an address of it cannot be had: the settings before stay in force",
        "let `underpass check` name the mistakes, put them right, and reload";
    NeedsRestart = "UP-109", "a setting waits for a restart",
        because "a setting was changed that counts only from the start of the process",
        "replace it while it runs (`--replace`) or restart it when that suits, or put the setting back";
    NotReplaced = "UP-110", "a process did not take over",
        because "the process that runs refused, or ended, or nobody dialled the new one in time: the old one goes on",
        "see the log of both; most often a try a little later, when an older process has ended, helps";

    // Joining, links, tunnels.
    PeerVersion = "UP-201", "the two sides share no version",
        because "connector and edge are of releases that no longer speak with each other",
        "upgrade the older one of the two";
    NoGrant = "UP-202", "the edge grants this connector nothing",
        because "the edge's file has no [[connector]] of this name (any more)",
        "add a [[connector]] with this name and its routes to the edge's file, or set the connector's `name` right";
    Revoked = "UP-203", "the connector was revoked",
        because "somebody has revoked the name after this certificate or token was issued",
        "if it is to come back: `underpass token create NAME`, and start the connector with the new token";
    TokenUnknown = "UP-204", "the join token is unknown",
        because "another edge made the token, or it was cut or mistyped on its way",
        "make the token at the edge that is dialled, since edges know only their own, and copy all of it";
    TokenUsed = "UP-205", "the join token was used",
        because "a token lets one replica join, and another one has",
        "make a token for each replica: `underpass token create NAME --out FILE --out FILE`";
    TokenExpired = "UP-206", "the join token has expired",
        because "more time has passed since the token was made than it lasts",
        "make a new one: `underpass token create NAME`, with `--expires` if an hour is too short";
    CertificateExpired = "UP-207", "the connector's certificate has expired",
        because "the connector was away, or the clock of one side is wrong, for longer than its certificate lasts",
        "set the clocks right; it is renewed by itself for 30 days, after that make a new join token";
    BadRequest = "UP-208", "the edge did not understand the connector",
        because "one side is not what it says it is, or is broken",
        "make sure that the address is an edge's tunnel address; else report it with both logs";
    Unavailable = "UP-209", "the edge cannot do it now",
        because "the edge has reached a bound, or cannot read or write its own state",
        "nothing, if it passes: it is tried again; else the edge's log says what is in the way";
    TokenRefused = "UP-210", "no edge takes the join token",
        because "the connector has no identity yet, and the token that is to give it one was refused",
        "the word behind it says why (see UP-202 to UP-206); most often a new token helps";
    EdgeSilent = "UP-211", "the edge does not answer",
        because "nothing comes back over UDP: no edge runs there, or a firewall drops UDP",
        "see that the edge runs, that `edges` has its address, and that UDP to that port passes every firewall";
    EdgeName = "UP-212", "the edge's name has no address",
        because "the resolver of the connector's host does not know the name, or does not answer",
        "set right the name in `edges` or the host's resolver, or write the edge's address instead";
    EdgeUntrusted = "UP-213", "the edge's certificate is not accepted",
        because "the edge is of another fleet than the connector's token, or somebody stands between",
        "dial the edges of the fleet that made the token, or join this fleet with a token of its own";
    ConnectorUntrusted = "UP-214", "the edge does not accept the connector's certificate",
        because "the connector's identity is of another fleet, has expired, or the edge's CA was replaced",
        "make a join token at this edge, and start the connector with it and an empty `state_dir`";
    EdgeBusy = "UP-215", "the edge takes no connection now",
        because "the edge has too many handshakes under way, or is about to end",
        "nothing, if it passes: it is tried again; if it lasts, the edge needs more processors or companions";
    HandshakeFailed = "UP-216", "no link could be made",
        because "the conversation with the edge broke off before there was a link",
        "see the words beside it and the edge's log at that time; it is tried again meanwhile";
    LinkLost = "UP-217", "links of a tunnel are lost",
        because "the network between, or the other side's process or host, went away",
        "see whether the connector runs and reaches the edge over UDP; it dials again by itself";
    NeverJoined = "UP-218", "a connector has not been here",
        because "a connector has a grant, and no link of it has come since this edge started",
        "start the connector, with a join token if it has no identity yet; or take the grant out of the file";
    RouteRefused = "UP-219", "a route was refused",
        because "the connector claims a route that its grant does not cover, or that is no route",
        "widen `routes` of its [[connector]] at the edge, or narrow its [[route]] entries";
    NotRenewed = "UP-220", "the connector's certificate could not be renewed",
        because "no edge issued a new certificate when it was due; links hold until the old one ends",
        "see the words beside it and the edge's log; it is tried again, and must work before the certificate ends";
    ClockWrong = "UP-221", "the clocks of the two sides differ",
        because "the connector's clock and the edge's differ by more than certificates allow for",
        "let both hosts take their time from the network (NTP)";

    // Ways to origins: 300 and the number that the reason has on the wire.
    NoRoute = "UP-301", "no route covers the address",
        because "no connector claims, and is granted, a network of this VNet that the address lies in",
        "compare the origin's address with the connector's [[route]] and its grant; see the refused routes in `status`";
    TunnelDown = "UP-302", "the tunnel is down",
        because "a route covers the address, and no link of its connectors is up",
        "see whether the connector runs and reaches the edge over UDP";
    PathLost = "UP-303", "the link was lost on the way",
        because "the link died, or leaves packets unanswered",
        "see the network between and the connector's log; flows go over other links meanwhile";
    PolicyDenied = "UP-304", "the connector does not permit the target",
        because "the address is outside the connector's routes, outside its [allow] list, or in a special range",
        "permit it in the connector's `allow.targets`, if it is to be reached; the connector's log names the rule";
    ConnectRefused = "UP-305", "the origin refuses connections",
        because "the host answers, and nobody listens at that port",
        "start the service there, or set right the origin's `address`";
    ConnectTimeout = "UP-306", "the origin does not answer",
        because "no answer came within `connect_timeout`: a firewall drops packets, or the host is down",
        "try the address from the connector's host; open the firewall between, or give more time";
    NetworkUnreachable = "UP-307", "there is no way to the origin's network",
        because "the connector's host has no route to the address, or the network says so",
        "see the routing table of the connector's host, and [[map]] if addresses are translated";
    ConnectionReset = "UP-308", "the origin reset the connection",
        because "the origin accepted and then broke the connection before it had answered",
        "see the origin's log: it crashed, is overloaded, or expects another protocol on this port";
    TlsUntrusted = "UP-309", "the origin's certificate is not trusted",
        because "nobody whom the pool believes vouches for the certificate, or it has run out",
        "name its authority by `ca` in the pool's `tls`; renew it, or send the intermediate certificates with it";
    TlsNameMismatch = "UP-310", "the origin's certificate is for another name",
        because "the name that was asked for is not among the names of the certificate",
        "set `server_name` in the pool's `tls` to a name of the certificate, or have it issued for this one";
    TlsHandshake = "UP-311", "TLS with the origin failed",
        because "the port speaks no TLS, or no version and cipher that both sides take, or not in time",
        "see whether the port speaks TLS 1.2 or 1.3; if it speaks none, the pool's `upstream` is `http1` or `h2c`";
    HttpTimeout = "UP-312", "the origin accepts and does not answer",
        because "connected, but no whole HTTP answer came within the monitor's `timeout`",
        "see the origin's load, or give the monitor a longer `timeout` or a cheaper `path`";
    HttpInvalid = "UP-313", "the origin's answer is not HTTP",
        because "the port speaks something else, TLS most likely",
        "set the monitor's `type` and the pool's `upstream` to what the port speaks";
    CodeMismatch = "UP-314", "the origin answers with another status",
        because "the status of the answer is not among the monitor's `expected_codes`",
        "ask that `path` yourself with that `host`; mend the origin, or expect what it rightly answers";
    BodyMismatch = "UP-315", "the origin answers with another text",
        because "`expected_body` is not in the answer's first 64 KiB, or a `tcp` monitor's `expect` not in what came",
        "ask that `path`, or say what `send` says, yourself; mend the origin, or expect what it rightly answers";
    UdpNoAnswer = "UP-316", "no right answer over UDP",
        because "nothing, or not what `expect` says, came back for what the monitor sends",
        "see that the service answers `send` with `expect`, and that the firewall lets UDP pass";
    IcmpTimeout = "UP-317", "no answer to an echo request",
        because "the host is down, or it or a firewall drops ICMP",
        "ping it from the connector's host; if ICMP is dropped on purpose, take another type of monitor";
    DnsFailed = "UP-318", "the origin's name has no address",
        because "the resolver of the connector (of the edge, for direct origins) does not know the name or is silent",
        "set right the name or that host's resolver, or write the origin's address";
    PassiveFailures = "UP-319", "live traffic fails to connect",
        because "more connects of clients in a row have failed than the monitor's `passive_failures`",
        "mend what their access-log lines say; good probes bring it back by themselves";
    ConnectorOverloaded = "UP-320", "the connector is out of files, ports or memory",
        because "the connector's host gave it no more of something, or its link carries all the streams it may",
        "raise LimitNOFILE, or run more replicas or more `links_per_edge`";
    IcmpNotPermitted = "UP-321", "nobody may send echo requests",
        because "the system gives the connector (the edge, for direct origins) no ping socket, or it is too old for ICMP",
        "widen `net.ipv4.ping_group_range` or give CAP_NET_RAW; upgrade an old connector";
    NothingServes = "UP-391", "nothing serves",
        because "no pool of a load balancer can take new flows, or a pool has fewer healthy origins than it must",
        "mend the origins that `status` names behind it; `fallback_pool` serves meanwhile where there is one";
    ServesLess = "UP-392", "it serves with less than it should",
        because "some origins, or pools before the one that serves, are not healthy",
        "mend the origins that `status` names behind it, before the rest goes too";

    // Asking a running edge or connector.
    NobodyAnswers = "UP-401", "nobody answers at the admin endpoint",
        because "nothing listens at that address: it does not run, or its endpoint is elsewhere",
        "start it, or name where it is by --admin URL or -c FILE";
    AdminToken = "UP-402", "the admin token is missing or wrong",
        because "what changes something needs the token that the edge keeps in its state directory",
        "give -c edge.toml or --admin-token-file FILE, as a user who may read it (the edge's own)";
    HostRefused = "UP-403", "the Host header names another host",
        because "only addresses, localhost and `admin.hosts` may be asked for, so that no web page can ask on your behalf",
        "ask by address, or add the name to `hosts` in [admin]";
    NotThere = "UP-404", "what was named is not there",
        because "the edge has nothing of that name, or has it no more",
        "see `underpass status --all` for what there is; names are those of the edge's file";
    BadQuestion = "UP-405", "the question is not understood",
        because "a part of what was asked is missing, misspelt or does not go with the rest",
        "ask as the message says; `--help` behind the command shows how";
    Contradicted = "UP-406", "something speaks against it",
        because "the settings say otherwise, a bound is reached, or a listener's address cannot be had",
        "take what the message names out of the way, then ask again";
    NotReady = "UP-407", "it is not ready",
        because "it runs, and lacks what it needs to serve: links, listeners, an identity",
        "mend what each line names; it gets ready by itself";
    StrangeAnswer = "UP-408", "the answer is not understood",
        because "something else listens there, or the two are of very different releases",
        "see that --admin names an admin endpoint, and use the command of the same release";
    NoAnswerInTime = "UP-409", "no answer in time",
        because "it runs and is too busy to answer, or what was asked takes longer",
        "see the log and the load of that host, then ask again";
    Ending = "UP-410", "it is shutting down",
        because "it was told to end, and changes nothing any more",
        "ask again when it is back";
    StillDraining = "UP-411", "a drain did not get to its end",
        because "flows are still open there, or somebody has undone the drain meanwhile",
        "wait longer (`--wait --timeout`), or end what is left; `underpass status` shows whether it is drained still";
    Broken = "UP-412", "the edge failed at what was asked",
        because "a part of the edge failed, which is a bug",
        "see its log, and report what is there";
}

impl Code {
    /// The code of this number, if this version knows it.
    #[must_use]
    pub fn of(number: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == number)
    }

    /// What a person is told beside an error: the code, and what to do.
    #[must_use]
    pub fn help(self) -> String {
        format!("help: {self}: {}", self.remedy())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
