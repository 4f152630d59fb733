//! Drains by hand, as writers ask for them, and what is left of whatever is emptied.
//!
//! A drain is a snapshot of the same settings under other drains, committed as a reload is. It holds from then on, whether or not
//! it could be recorded.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use api::{
    code::Code,
    drain::{Asked, Done, Drain as Told, Drained, Drains as All, Progress},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use certs::rotation::Utc;
use tokio::time;
use tracing::{error, info};

use super::{Admin, problem};
use crate::{
    listener::Left,
    model::{DRAINS_MAX, Drain, DrainedBy, Drains, Pool, Subject},
    store::Snapshot,
};

/// Longest time for which it is watched how fast something carries.
const SAMPLE_MAX: Duration = Duration::from_secs(5);
/// Most characters of what somebody says of themselves.
const WHO_MAX: usize = 64;

/// What somebody wants of something.
#[derive(Debug)]
enum Wish {
    /// It is to take nothing new.
    Drain { who: Option<String> },
    /// It is to take new flows again.
    Undrain,
}

/// All that is drained; of one thing what is left.
pub(super) async fn list(State(admin): State<Admin>, Query(asked): Query<Asked>) -> Response {
    if !asked.kind.is_empty() || !asked.name.is_empty() {
        return match Subject::read(&asked.kind, &asked.name) {
            Ok(subject) => progress(&admin, &subject, asked.sample_ms).await,
            Err(why) => problem(StatusCode::BAD_REQUEST, Code::BadQuestion, &why),
        };
    }
    let drains = admin.store.current().drains.clone();
    let one = |(subject, by, drain): (&Subject, DrainedBy, &Drain)| Drained {
        kind: subject.kind().to_owned(),
        name: subject.name(),
        drain: told(by, drain),
    };
    Json(All { drains: drains.all().map(one).collect() }).into_response()
}

/// Drains something.
pub(super) async fn drain(State(admin): State<Admin>, Query(asked): Query<Asked>, body: Bytes) -> Response {
    let asked = if body.is_empty() { Ok(asked) } else { serde_json::from_slice(&body) };
    match asked {
        Ok(Asked { kind, name, who, .. }) => wish(admin, (&kind, &name), Wish::Drain { who: fitting(who) }).await,
        Err(error) => {
            problem(StatusCode::BAD_REQUEST, Code::BadQuestion, &format!("this is not what can be drained: {error}"))
        }
    }
}

/// Fills something again.
pub(super) async fn undrain(State(admin): State<Admin>, Query(asked): Query<Asked>) -> Response {
    wish(admin, (&asked.kind, &asked.name), Wish::Undrain).await
}

/// As a drain is told.
pub(super) fn told(by: DrainedBy, Drain { who, since, begun: _ }: &Drain) -> Told {
    Told { by: by.as_str().to_owned(), who: who.clone(), since: Utc(*since).to_string() }
}

/// The drain of this very thing, as it is told.
pub(super) fn of(drains: &Drains, subject: &Subject) -> Option<Told> {
    drains.find(subject).map(|(by, drain)| told(by, drain))
}

/// What somebody says of themselves, fit for a line.
fn fitting(who: Option<String>) -> Option<String> {
    let line = |who: String| who.trim().chars().take(WHO_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    who.map(line).filter(|who: &String| !who.is_empty())
}

async fn wish(admin: Admin, (kind, name): (&str, &str), wish: Wish) -> Response {
    let subject = match Subject::read(kind, name) {
        Ok(subject) => subject,
        Err(why) => return problem(StatusCode::BAD_REQUEST, Code::BadQuestion, &why),
    };
    // Whoever asks may go away in the middle of it.
    let done = tokio::spawn(async move { grant(&admin, subject, wish).await }).await;
    done.unwrap_or_else(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, Code::Broken, &error.to_string()))
}

async fn grant(admin: &Admin, subject: Subject, wish: Wish) -> Response {
    let _changing = admin.store.change_by_hand().await;
    let before = admin.store.current();
    let next = match known(admin, &before, &subject) {
        Known::There => wanted(&before.drains, &subject, wish),
        // It takes nothing new as it is.
        Known::Removed => Ok(None),
        Known::Unknown(why) => Err((StatusCode::NOT_FOUND, Code::NotThere, why)),
    };
    let next = match next {
        Ok(next) => next,
        Err((status, code, why)) => return problem(status, code, &why),
    };
    let changed = next.is_some();
    let drains = next.unwrap_or_else(|| Drains::clone(&before.drains));
    if changed && let Err(why) = put_in_force(admin, before.draining(drains.clone())).await {
        return problem(StatusCode::CONFLICT, Code::Contradicted, &why);
    }
    let drain = of(&drains, &subject);
    let who = drain.as_ref().and_then(|drain| drain.who.as_deref());
    match (&drain, changed) {
        (Some(_), true) => info!(what = %subject, who, "drained by hand: it takes nothing new"),
        (None, true) => info!(what = %subject, "drained no longer"),
        (_, false) => {}
    }
    let recorded = if changed || admin.drains.is_behind() { admin.drains.record(&drains).await } else { Ok(()) };
    let (kind, name) = (subject.kind().to_owned(), subject.name());
    let removed = !subject.is_in(&before.catalog);
    let done = Done { kind, name, changed, drain, removed, error: None, code: None };
    let Err(why) = recorded else { return Json(done).into_response() };
    let code = Code::NotRecorded;
    error!(what = %subject, %code, why, "that is in force, but not recorded");
    let text = format!(
        "{subject}: that is in force, but could not be recorded, so a restart of this edge would undo it: {why}; mend that, \
         then ask again"
    );
    (StatusCode::INTERNAL_SERVER_ERROR, Json(Done { error: Some(text), code: Some(code.to_string()), ..done }))
        .into_response()
}

/// What speaks against a wish.
type Speaks = (StatusCode, Code, String);

/// The drains after that, if they are others; or what speaks against it.
fn wanted(drains: &Drains, subject: &Subject, wish: Wish) -> Result<Option<Drains>, Speaks> {
    match (wish, drains.find(subject)) {
        (Wish::Drain { .. }, Some(_)) | (Wish::Undrain, None) => Ok(None),
        (Wish::Drain { .. }, None) if drains.by_hand().len() >= DRAINS_MAX => Err((
            StatusCode::CONFLICT,
            Code::Contradicted,
            format!("{DRAINS_MAX} things are drained by hand already, no more are allowed"),
        )),
        (Wish::Drain { who }, None) => {
            let drain = Drain { who, since: SystemTime::now(), begun: Instant::now() };
            Ok(Some(drains.with(subject.clone(), drain)))
        }
        (Wish::Undrain, Some((DrainedBy::Api, _))) => Ok(Some(drains.without(subject))),
        (Wish::Undrain, Some((DrainedBy::File, _))) => {
            let right = "take that out of the file and let the edge read it again";
            Err((
                StatusCode::CONFLICT,
                Code::Contradicted,
                format!("{subject} is drained by the settings (drain = true): {right}"),
            ))
        }
    }
}

/// Puts a snapshot of the same settings in force: first what can fail, then what cannot.
async fn put_in_force(admin: &Admin, snapshot: Snapshot) -> Result<(), String> {
    let snapshot = Arc::new(snapshot);
    let prepared = admin.listeners.prepare(&snapshot).await.map_err(|error| error.to_string())?;
    admin.listeners.commit(prepared);
    admin.store.commit(snapshot.clone());
    admin.registry.follow();
    Ok(())
}

async fn progress(admin: &Admin, subject: &Subject, sample_ms: Option<u64>) -> Response {
    let snapshot = admin.store.current();
    // Who watches something that is gone meanwhile learns that it is empty.
    if let (None, Known::Unknown(why)) = (sample_ms, known(admin, &snapshot, subject)) {
        return problem(StatusCode::NOT_FOUND, Code::NotThere, &why);
    }
    let mut left = admin.listeners.left(subject);
    let mut rate = None;
    if let Some(sample) = sample_ms.map(Duration::from_millis).filter(|sample| !sample.is_zero()) {
        let (began, before) = (Instant::now(), left.bytes());
        time::sleep(sample.min(SAMPLE_MAX)).await;
        // What has come meanwhile is not seen; to what is drained nothing comes.
        let carried = left.bytes().saturating_sub(before);
        rate = Some(carried as f64 / began.elapsed().as_secs_f64().max(0.001));
        left = admin.listeners.left(subject);
    }
    let snapshot = admin.store.current();
    let older = admin.sockets.as_ref().is_some_and(|sockets| sockets.has_predecessors());
    Json(Progress { older, ..shown(subject, &snapshot, (&left, rate)) }).into_response()
}

fn shown(subject: &Subject, snapshot: &Snapshot, (left, rate): (&Left, Option<f64>)) -> Progress {
    Progress {
        kind: subject.kind().to_owned(),
        name: subject.name(),
        drain: of(&snapshot.drains, subject),
        removed: !subject.is_in(&snapshot.catalog),
        flows: left.flows(),
        oldest_s: left.oldest(Instant::now()).map(|age| age.as_secs_f64()),
        bytes: left.bytes(),
        bytes_per_second: rate,
        older: false,
    }
}

/// Whether there is such a thing.
enum Known {
    There,
    /// The settings do not have it any more, and it has flows.
    Removed,
    /// There is none, and which may have been meant.
    Unknown(String),
}

fn known(admin: &Admin, snapshot: &Snapshot, subject: &Subject) -> Known {
    let names = names(admin, snapshot, subject);
    if names.contains(&subject.name()) || snapshot.drains.has(subject) {
        return Known::There;
    }
    if admin.listeners.left(subject).flows() > 0 {
        return Known::Removed;
    }
    let (what, name) = (subject.kind().replace('_', " "), subject.name());
    let hint = config::hint(&name, names.iter().map(String::as_str));
    Known::Unknown(format!("there is no {what} \"{name}\"{hint}"))
}

/// Every name among which a subject's could be.
fn names(admin: &Admin, snapshot: &Snapshot, subject: &Subject) -> BTreeSet<String> {
    let catalog = &snapshot.catalog;
    match subject {
        Subject::Connector(_) => catalog.grants.iter().map(|grant| grant.connector.to_string()).collect(),
        Subject::Replica { .. } => {
            let links = admin.links.borrow().clone();
            links.links.values().map(|link| format!("{}/{}", link.connector, link.replica)).collect()
        }
        Subject::Origin { .. } => {
            let of_pool = |pool: &Arc<Pool>| {
                pool.origins.iter().map(|origin| format!("{}/{}", pool.name, origin.name)).collect::<Vec<_>>()
            };
            catalog.pools.iter().flat_map(of_pool).collect()
        }
        Subject::Pool(_) => catalog.pools.iter().map(|pool| pool.name.to_string()).collect(),
        Subject::LoadBalancer(_) => catalog.load_balancers.iter().map(|lb| lb.name.to_string()).collect(),
        Subject::Listener(_) => catalog.listeners.iter().map(|listener| listener.name.to_string()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject::read("pool", "web").expect("right")
    }

    fn drain() -> Wish {
        Wish::Drain { who: Some("root".to_owned()) }
    }

    #[test]
    fn two_drains_are_one_and_what_is_not_drained_needs_no_undraining() {
        let none = Drains::default();
        assert_eq!(wanted(&none, &subject(), Wish::Undrain), Ok(None));
        let one = wanted(&none, &subject(), drain()).expect("allowed").expect("others");
        assert_eq!(one.find(&subject()).and_then(|(_, drain)| drain.who.as_deref()), Some("root"));
        assert_eq!(wanted(&one, &subject(), drain()), Ok(None));
        assert_eq!(wanted(&one, &subject(), Wish::Undrain), Ok(Some(none)));
    }

    #[test]
    fn a_files_drain_is_undone_in_the_file() {
        let file = "name = \"e\"\n[tunnel]\nlisten = \"127.0.0.1:1\"\n[[pool]]\nname = \"web\"\ndrain = true\n\
             [[pool.origin]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\n";
        let catalog = crate::config::parse(file, "e.toml".as_ref()).expect("settings").catalog;
        let said = Drains::default().under(&catalog, (SystemTime::now(), Instant::now()));
        let (status, _, why) = wanted(&said, &subject(), Wish::Undrain).expect_err("only there");
        assert!(status == StatusCode::CONFLICT && why.contains("drained by the settings (drain = true)"), "{why}");
        assert_eq!(wanted(&said, &subject(), drain()), Ok(None));
    }

    #[test]
    fn no_more_than_the_bound_are_drained_by_hand() {
        let (since, begun) = (SystemTime::now(), Instant::now());
        let one =
            |number| (Subject::read("pool", &format!("p{number}")).expect("right"), Drain { who: None, since, begun });
        let many = Drains::kept((0..DRAINS_MAX).map(one).collect());
        assert!(wanted(&many, &subject(), drain()).is_err_and(|(_, _, why)| why.contains("no more are allowed")));
    }

    #[test]
    fn what_somebody_says_of_themselves_fits_a_line() {
        let who = |text: &str| fitting(Some(text.to_owned()));
        assert_eq!(who(" a\nb ").as_deref(), Some("a?b"));
        assert_eq!(who(" "), None);
        assert_eq!(who(&"x".repeat(200)).map(|who| who.len()), Some(WHO_MAX));
    }
}
