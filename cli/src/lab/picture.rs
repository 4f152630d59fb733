//! What the lab tells its user: where everything is, and lines to paste.

use std::fmt::{self, Write};

use super::{
    files::CERTIFICATE,
    plan::{CIDR, Plan, REPLICAS, SERVICES, Service, Speech, Vnet, WWW, Www, replicas_of, servers_of},
    process::{Process, own_name},
    world::{Afterwards, World},
};

/// Everything, once the lab is whole.
pub(super) fn whole(world: &World) -> String {
    let mut text = String::new();
    let written = write_map(&mut text, &world.plan).and_then(|()| write_lines(&mut text, world));
    written.expect("writing to a string does not fail");
    text
}

/// The last words.
pub(super) fn parting(world: &World, afterwards: Afterwards) -> String {
    match afterwards {
        Afterwards::Keep => format!("\nending everything; the files stay in {}\n", world.dir().display()),
        Afterwards::Remove => "\nending everything\n".to_owned(),
    }
}

/// A line that kills a process.
pub(super) fn kill_line(process: &Process) -> String {
    process.pid().map_or_else(|| "# ended already:".to_owned(), |pid| format!("kill -9 {pid}"))
}

fn write_map(text: &mut String, plan: &Plan) -> fmt::Result {
    writeln!(text, "\n  client ── edge-1, edge-2 ══ QUIC, dialled from inside ══ connectors ── private networks\n")?;
    writeln!(text, "  {:<10} {:<7} {:<16} {:<16} {:<16}", "listener", "speaks", "at edge-1", "at edge-2", "leads to")?;
    for (i, service) in SERVICES.iter().enumerate() {
        let [one, two] = plan.edges.each_ref().map(|edge| edge.listeners[i].to_string());
        let (name, protocol, leads) = (service.name, service.speech.protocol(), leads_to(service));
        writeln!(text, "  {name:<10} {protocol:<7} {one:<16} {two:<16} {leads}")?;
    }
    let [one, two] = plan.edges.each_ref().map(|edge| edge.www.to_string());
    let Www { name, pool, path, other } = WWW;
    let leads = format!("{}, by a cookie the same again; {path} to {}", leads_to(pool), other.vnet.name());
    writeln!(text, "  {name:<10} {:<7} {one:<16} {two:<16} {leads}", "https")?;
    let [one, two] = plan.edges.each_ref().map(|edge| edge.admin.to_string());
    writeln!(text, "  {:<10} {:<7} {one:<16} {two:<16} the edge itself", "admin", "http")?;
    let [one, two] = plan.edges.each_ref().map(|edge| edge.tunnel.to_string());
    writeln!(text, "  {:<10} {:<7} {one:<16} {two:<16} where connectors dial in", "tunnel", "quic")?;
    writeln!(text, "\n  two VNets, the same {CIDR} in both:")?;
    for vnet in Vnet::ALL {
        for replica in replicas_of(vnet) {
            let (real, connector) = (plan.ground.real_cidr(replica), vnet.connector());
            let (name, vnet) = (replica.name, vnet.name());
            writeln!(text, "  {vnet:<5} {CIDR} is {real:<14} through {name} (a replica of {connector})")?;
        }
    }
    let http = SERVICES.iter().filter(|service| service.speech == Speech::Http);
    for (service, server) in http.flat_map(|service| servers_of(service.vnet).map(move |server| (service, server))) {
        let address = plan.ground.address(server, service.speech).to_string();
        let real = replicas_of(service.vnet).map(|r| plan.ground.real(server, r, service.speech).to_string());
        let real = real.collect::<Vec<_>>().join(" and ");
        writeln!(text, "  {:<5} {} at {address:<15} really {real}", service.vnet.name(), server.name)?;
    }
    Ok(())
}

fn leads_to(service: &Service) -> String {
    let servers: Vec<_> = servers_of(service.vnet).map(|server| server.name).collect();
    format!("VNet {}: {}", service.vnet.name(), servers.join(", "))
}

fn write_lines(text: &mut String, world: &World) -> fmt::Result {
    let (plan, own) = (&world.plan, own_name());
    let [one, two] = &plan.edges;
    let ([red, blue, echo, dns, blue_dns], dir) = (one.listeners, world.dir().display());
    writeln!(text, "\ntry:")?;
    writeln!(text, "  curl -s http://{red}/   # red, by edge-1")?;
    writeln!(text, "  curl -s http://{blue}/   # blue: the same address, another network")?;
    writeln!(text, "  curl -s http://{}/   # red, by edge-2", two.listeners[0])?;
    let (trust, jar) = (format!("--cacert {dir}/{CERTIFICATE}"), format!("{dir}/cookies"));
    writeln!(text, "  curl -s {trust} https://{}{}   # a rule: this path leads to blue", one.www, WWW.path)?;
    writeln!(
        text,
        "  for n in 1 2 3 4; do curl -s {trust} -b {jar} -c {jar} https://{}/; done   # a cookie: the same origin again",
        one.www
    )?;
    for (dns, what) in [(dns, "red, over UDP: any question is answered so"), (blue_dns, "blue")] {
        writeln!(text, "  dig +short @{} -p {} who TXT   # {what}", dns.ip(), dns.port())?;
    }
    writeln!(text, "  nc -u {} {}   # what is no DNS comes back as it is", dns.ip(), dns.port())?;
    writeln!(text, "  nc {} {}   # TCP: says who it is, then echoes", echo.ip(), echo.port())?;
    writeln!(text, "  while sleep 0.2; do curl -sS http://{red}/; done   # who answers, and which connector carries")?;
    writeln!(text, "  {own} status --admin http://{}", one.admin)?;
    writeln!(text, "\nkill one while the loop runs; it comes back by itself:")?;
    for (process, replica) in world.connectors.iter().zip(&REPLICAS) {
        writeln!(text, "  {} # {}, which serves {}", kill_line(process), replica.name, replica.vnet.name())?;
    }
    for process in &world.edges {
        writeln!(text, "  {} # {}", kill_line(process), process.program.name)?;
    }
    writeln!(text, "\nfiles and logs: {}", world.dir().display())?;
    writeln!(text, "ctrl-C ends everything; `{own} lab --drill` breaks things under load and counts what clients felt")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::Ground;

    #[test]
    fn the_map_shows_every_address() {
        let ground = Ground::all().next().expect("there are grounds");
        let plan = Plan::new(ground, |port| ([127, 0, 0, 1], port).into());
        let mut text = String::new();
        write_map(&mut text, &plan).expect("writing to a string does not fail");
        for edge in &plan.edges {
            let listeners = edge.listeners.iter().chain([&edge.www, &edge.admin, &edge.tunnel]);
            listeners.for_each(|at| assert!(text.contains(&at.to_string()), "{at} is missing in\n{text}"));
        }
        for wanted in ["127.71.1.0/24", "127.71.2.0/24", "127.72.3.0/24", "127.71.2.13:8080", "10.7.0.12:8080"] {
            assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
        }
    }
}
