//! The faults: what each breaks, how it is put right, and what is promised meanwhile.

mod crowds;
mod identity;
mod logs;
mod network;
mod origins;
mod processes;
mod resources;

use std::{fmt, net::TcpStream, time::Duration};

use rig::judge::{Bounds, Cuts, Gone};
use underpass_tests::harness::{Connector, Origin, origin::servers::Server};

use self::{logs::Logs, resources::Cap};
use crate::{
    lab::{Lab, Replica},
    readers::Readers,
    shim::Shim,
};

/// The lab, and what faults bring along.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Clients that a fault holds open.
    held: Vec<TcpStream>,
    /// A connector that comes to stay for a while.
    guest: Option<Replica>,
    /// Its name server.
    names: Option<Server>,
    /// Many connectors on one host.
    crowd: Vec<Connector>,
    /// What stands in the place of an origin.
    stand_in: Option<Origin>,
    shim: Option<Shim>,
    caps: Vec<Cap>,
    /// Where the first edge and the first replica log to, if not as usual.
    logs: Option<Logs>,
    readers: Option<Readers>,
    /// How often a path had been called unhealthy before them.
    sick_before: usize,
    /// The lab itself.
    pub(crate) lab: Lab,
    /// What a fault looked for in vain.
    pub(crate) amiss: Vec<String>,
    /// Figures worth telling.
    pub(crate) notes: Vec<String>,
}

impl Stage {
    /// A stage with nothing but the lab.
    #[must_use]
    pub(crate) fn new(lab: Lab) -> Self {
        let (amiss, notes) = Default::default();
        Self {
            held: Vec::new(),
            guest: None,
            names: None,
            crowd: Vec::new(),
            stand_in: None,
            shim: None,
            caps: Vec::new(),
            logs: None,
            readers: None,
            sick_before: 0,
            lab,
            amiss,
            notes,
        }
    }
}

/// Something done to the stage.
type Act = Box<dyn Fn(&mut Stage)>;

/// A fault.
pub(crate) struct Case {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its name in the table.
    pub(crate) title: &'static str,
    /// Whether the quick run has it.
    pub(crate) quick: bool,
    /// Whether it leaves the lab changed, so that no other can come after it.
    pub(crate) last: bool,
    /// Whether clients do one thing a second at most.
    pub(crate) light: bool,
    /// Whether the clients' slowest answers meanwhile are held against those just before.
    pub(crate) compares: bool,
    /// What goes before, under load, without being judged.
    pub(crate) prepare: Act,
    /// Breaks it.
    pub(crate) strike: Act,
    /// How long it stays broken.
    pub(crate) hold: Duration,
    /// Puts it right.
    pub(crate) heal: Act,
    /// What is promised.
    pub(crate) bounds: Bounds,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

impl Case {
    /// Nothing is broken, for three seconds.
    fn new(name: &'static str, title: &'static str) -> Self {
        let nothing = || -> Act { Box::new(|_| ()) };
        let bounds = Bounds { gone: Gone::Nobody, cuts: Cuts::Whatever, leaves: None, told: None, recovers: true };
        let hold = Duration::from_secs(3);
        let (quick, last, light, compares) = (false, false, false, false);
        Self {
            name,
            title,
            quick,
            last,
            light,
            compares,
            prepare: nothing(),
            strike: nothing(),
            hold,
            heal: nothing(),
            bounds,
        }
    }

    /// Under light load: a link is idle most of the time.
    fn light(self) -> Self {
        Self { light: true, ..self }
    }

    fn last(self) -> Self {
        Self { last: true, ..self }
    }

    fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    /// The clients' slowest answers take at most twice as long as just before.
    fn compares(self) -> Self {
        Self { compares: true, ..self }
    }

    fn prepare(self, act: impl Fn(&mut Stage) + 'static) -> Self {
        Self { prepare: Box::new(act), ..self }
    }

    fn strike(self, act: impl Fn(&mut Stage) + 'static) -> Self {
        Self { strike: Box::new(act), ..self }
    }

    fn hold(self, hold: Duration) -> Self {
        Self { hold, ..self }
    }

    fn heal(self, act: impl Fn(&mut Stage) + 'static) -> Self {
        Self { heal: Box::new(act), ..self }
    }

    fn gone(mut self, gone: Gone) -> Self {
        self.bounds.gone = gone;
        self
    }

    /// What is broken is out of rotation within this.
    fn leaves(mut self, within: Duration) -> Self {
        self.bounds.leaves = Some(within);
        self
    }

    /// Whatever is cut is told so within this.
    fn tells(mut self, within: Duration) -> Self {
        self.bounds.told = Some(within);
        self
    }

    /// Nobody's flow is cut.
    fn cuts_nothing(mut self) -> Self {
        self.bounds.cuts = Cuts::Nothing;
        self
    }

    /// Nothing is promised about the time that recovery takes.
    fn recovers_in_its_time(mut self) -> Self {
        self.bounds.recovers = false;
        self
    }
}

/// The sum of the metrics whose line holds all of `parts`.
fn metric(text: &str, parts: &[&str]) -> u64 {
    let lines = text.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Every fault, in the order of the table.
#[must_use]
pub(crate) fn all() -> Vec<Case> {
    let nothing = Case::new("nothing", "nothing").quick().cuts_nothing();
    let mut cases = vec![nothing];
    cases.extend(processes::cases());
    cases.extend(origins::cases());
    cases.extend(network::cases());
    cases.extend(resources::cases());
    cases.extend(identity::cases());
    cases.extend(crowds::cases());
    cases.extend(logs::cases());
    cases.extend(processes::last());
    cases
}
