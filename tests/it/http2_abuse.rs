//! What HTTP/2 clients may not do to an edge, one abuse after the other: each ends with `ENHANCE_YOUR_CALM` and is counted,
//! others are served meanwhile, and honest loads are not hurt.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use underpass_tests::harness::{
    Edge, Origin, Service, World, client,
    frames::{self, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Ended, Frame, OK, Raw, kind},
    origin::{habits, recorder::Recorder, servers},
    process::{self, command},
    wait::{self, SOON},
};

type Field = (&'static [u8], &'static [u8]);

const GET: [Field; 4] = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
const POST: [Field; 4] = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// An edge with an origin that answers (`web`) and one that never does (`mute`).
struct Stage {
    edge: Edge,
    origin: Recorder,
    _mute: Origin,
    _world: World,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let (origin, mute) = (Recorder::start(world.free()), habits::reads_only(world.free()));
        let edge = world.edge("edge-1").service(&Service::http("web").direct(origin.address()));
        let edge = edge.service(&Service::http("mute").direct(mute.address())).start();
        Self { edge, origin, _mute: mute, _world: world }
    }

    fn connect(&self, service: &str) -> Raw {
        Raw::connect(self.edge.listener(service), &[])
    }

    /// A client that sends this is told to calm down, and counted under one of these words.
    fn calms(&self, service: &str, whys: &[&str], abuse: impl FnOnce(&mut Raw)) {
        let before = self.counted(service, whys);
        let mut raw = self.connect(service);
        abuse(&mut raw);
        assert_eq!(raw.end(), Some(ENHANCE_YOUR_CALM), "{whys:?}");
        wait::soon_true(&format!("one more of {whys:?}"), || self.counted(service, whys) > before);
    }

    fn counted(&self, service: &str, whys: &[&str]) -> u64 {
        let metrics = self.edge.metrics();
        let count = |why: &&str| {
            let label = format!("underpass_abuse_total{{listener=\"{service}\",why=\"{why}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&label)?.parse::<u64>().ok()).unwrap_or(0)
        };
        whys.iter().map(count).sum()
    }

    /// Asks again and again, over new connections too, until told to stop; returns how often it was served.
    fn is_served_until(&self, stop: &AtomicBool) -> usize {
        let mut served = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut raw = self.connect("web");
            for _ in 0..20 {
                let stream = raw.open(&GET, END_STREAM);
                assert_eq!(raw.end_of(stream), OK, "after {served} answers");
                served += 1;
            }
        }
        served
    }
}

/// Tells the others to stop, also if this thread panics.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    Frame { kind, flags, stream, payload: payload.to_vec() }.bytes()
}

/// Many frames in one piece. The edge may have closed before it has taken all of them.
fn flood(raw: &mut Raw, frames: impl IntoIterator<Item = Vec<u8>>) {
    let _ = raw.write(&frames.into_iter().flatten().collect::<Vec<u8>>());
}

fn opens(raw: &mut Raw) -> (u32, Vec<u8>) {
    let stream = raw.fresh();
    (stream, frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &frames::head(&GET)))
}

/// Opens so many streams, with something right behind each.
fn opens_many(raw: &mut Raw, count: usize, then: impl Fn(u32) -> Vec<u8>) {
    let many: Vec<Vec<u8>> = (0..count)
        .map(|_| {
            let (stream, head) = opens(raw);
            [head, then(stream)].concat()
        })
        .collect();
    flood(raw, many);
}

#[test]
fn abuse_is_ended_calmly_and_counted_while_others_are_served() {
    let stage = Stage::new();
    let stop = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| served.store(stage.is_served_until(&stop), Ordering::Relaxed));
        let _stopping = Stopping(&stop);
        resets(&stage);
        heads(&stage);
        cheap_frames(&stage);
    });
    assert!(served.into_inner() > 0, "another client was served meanwhile");
    let mut raw = stage.connect("mute");
    assert_eq!(raw.open(&GET, END_STREAM), 1, "and new ones are taken");
}

fn resets(stage: &Stage) {
    stage.calms("mute", &["early_resets"], |raw| {
        opens_many(raw, 200, |stream| frame(kind::RST_STREAM, 0, stream, &CANCEL));
    });
    stage.calms("web", &["resets"], |raw| {
        let stream = raw.open(&GET, END_STREAM);
        assert_eq!(raw.end_of(stream), OK);
        flood(raw, (0..150).map(|_| frame(kind::RST_STREAM, 0, stream, &CANCEL)));
    });
    // A window beyond its bound, so that it is the edge that resets.
    stage.calms("mute", &["provoked_resets"], |raw| {
        for _ in 0..20 {
            opens_many(raw, 40, |stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
            let last = raw.fresh() - 2;
            if matches!(raw.end_of(last), Ended::Closed(_)) {
                return;
            }
        }
    });
    // Streams beyond the hundred are refused one by one; a client that does not stop is ended.
    stage.calms("mute", &["streams", "provoked_resets"], |raw| opens_many(raw, 700, |_| Vec::new()));
}

fn heads(stage: &Stage) {
    stage.calms("web", &["continuations"], |raw| {
        let stream = raw.fresh();
        let first = frame(kind::HEADERS, END_STREAM, stream, &frames::head(&GET));
        flood(raw, [first].into_iter().chain((0..30).map(|_| frame(kind::CONTINUATION, 0, stream, b""))));
    });
    // One entry of the table, named over and over: a few kilobytes that mean hundreds of megabytes.
    let value = [b'x'; 3000];
    let entry = [&[0x40, 1, b'x'][..], &[127, 0xb9, 0x16], &value].concat();
    let mut raw = stage.connect("web");
    let stream = raw.fresh();
    let bomb = [frames::head(&GET), entry, vec![0xbe; 12_000]].concat();
    raw.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &bomb).expect("written");
    let ended = raw.end_of(stream);
    assert!(matches!(ended, Ended::Closed(_) | Ended::Reset(_)) || ended != OK, "{ended:?}");
    let fields = [&GET[..], &[(&b"x"[..], &b"y"[..]); 101]].concat();
    let mut raw = stage.connect("web");
    let stream = raw.open(&fields, END_STREAM);
    assert_ne!(raw.end_of(stream), OK, "too many fields");
}

fn cheap_frames(stage: &Stage) {
    let repeats = |raw: &mut Raw, count, bytes: Vec<u8>| flood(raw, std::iter::repeat_n(bytes, count));
    stage.calms("web", &["pings"], |raw| repeats(raw, 150, frame(kind::PING, 0, 0, &[0; 8])));
    stage.calms("web", &["settings"], |raw| repeats(raw, 80, frame(kind::SETTINGS, 0, 0, &[])));
    stage.calms("web", &["window_updates"], |raw| repeats(raw, 200, frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])));
    stage.calms("web", &["idle_frames"], |raw| repeats(raw, 200, frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])));
    stage.calms("mute", &["empty_data"], |raw| {
        let stream = raw.open(&POST, 0);
        repeats(raw, 150, frame(kind::DATA, 0, stream, &[]));
    });
    assert!(stage.origin.ended() < 1000, "the origin felt little of it");
}

#[test]
fn honest_loads_are_not_taken_for_abuse() {
    let world = World::new();
    let server = servers::nginx(&world, world.free(), "web-1");
    fs::write(server.dir.join("www/big"), client::Pattern::new(3).bytes(1 << 20)).expect("writable");
    let edge = world.edge("edge-1").service(&Service::http("web").direct(server.address)).start();
    // Full concurrency; then large answers through small windows, which need an update for every few frames.
    for (path, arguments, count) in
        [("who", &["-c", "4", "-m", "100"][..], "1000"), ("big", &["-c", "2", "-m", "8", "-w", "16", "-W", "16"], "20")]
    {
        let mut h2load = command("h2load");
        h2load.args(["-n", count]).args(arguments).arg(format!("http://{}/{path}", edge.listener("web")));
        let ran = process::run(h2load, SOON).ok();
        assert!(ran.out.contains(&format!("{count} succeeded, 0 failed")), "{}", ran.out);
    }
    let metrics = edge.metrics();
    let mut counted = metrics.lines().filter(|line| line.starts_with("underpass_abuse_total{"));
    assert!(counted.all(|line| line.ends_with(" 0")), "{metrics}");
}
