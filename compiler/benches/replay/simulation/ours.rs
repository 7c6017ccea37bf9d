//! What bfp does, by its own code: the lock with its refresh, the list that a name is within, compiled tables and
//! `decide`, and the names of the bundle as a hosts file.
//!
//! A person looks once a day, at ten o'clock: then a list that has changed is fetched and reviewed. What a refresh wants
//! reviewed stops it until then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use bfp_bundle::decide::decide;
use bfp_bundle::image::Image;
use bfp_bundle::label::Label;
use bfp_bundle::request::{Address, Protocol, Request};
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{self, Changes, Dnssec, Lock, LockedName, ResolvedAt, Stability};
use bfp_compiler::pipeline;
use bfp_compiler::resolve::{self, Bounds, Source};
use bfp_compiler::source::load::{self, Loaded};
use bfp_compiler::source::{Read, SourceError};

use super::world::{History, Moment};
use super::{DAY, Strategy, client_query};

/// How the product is used.
pub(super) struct Way {
    /// How often the job runs.
    pub(super) every: Moment,
    /// How much later hosts enforce what it built, and have its names.
    pub(super) roll_out: Moment,
    /// `--keep`
    pub(super) keep: Duration,
    /// The name is declared with `may change`, whatever else an author would write.
    pub(super) may_change: bool,
    /// `bfp-enforcer hosts` writes the names; otherwise clients ask DNS.
    pub(super) has_hosts: bool,
}

impl Way {
    pub(super) const USUAL: Way =
        Way { every: 15, roll_out: 5, keep: Duration::from_hours(24), may_change: false, has_hosts: true };
}

/// When a person looks, in minutes of a day.
const LOOKS_AT: Moment = 10 * 60;
/// Each name is queried in three rounds.
const ROUNDS: u64 = 3;
/// The numbers of the queries that no client makes.
const OWN_QUERY: u64 = 100;

/// The only file beside the policy.
struct List(&'static str);

impl Read for List {
    fn text(&self, _path: &Path) -> Result<String, SourceError> {
        Ok(self.0.to_owned())
    }

    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
        Err(SourceError::NotAFile { path: path.display().to_string() })
    }
}

/// What a host enforces.
struct Enforced {
    image: Image,
    program: Label,
    /// What its hosts file says, in its order.
    hosts: Vec<Ipv4Addr>,
    /// Verdicts that were asked for before: of the program, and of others.
    known: HashMap<(Ipv4Addr, bool), bool>,
}

pub(super) struct Ours<'a> {
    way: &'a Way,
    policy: String,
    name: DnsName,
    /// The list that was reviewed last, and the policy with it.
    list: &'static str,
    loaded: Loaded,
    lock: Lock,
    enforced: Enforced,
    /// What was built, and when hosts have it.
    next: Option<(Moment, Enforced)>,
    /// Whether a refresh waits for a person.
    is_waiting: bool,
    reviews: u32,
}

impl<'a> Ours<'a> {
    #[expect(clippy::expect_used, reason = "a policy made here compiles")]
    pub(super) fn new(history: &History, way: &'a Way) -> Ours<'a> {
        let declaration = if way.may_change { "service.example:443 may change" } else { history.declaration() };
        let policy = format!("host service = {declaration}\nonly \"/usr/bin/app\" -> only service\n");
        let name = DnsName::parse("service.example").expect("a name");
        let list = history.published(0);
        let loaded = loaded(&policy, list);
        let mut lock = Lock { names: BTreeMap::from([(name.clone(), live(history, 0))]), ..Lock::default() };
        lock.files = resolve::lists(&loaded).map(|list| (list.name.clone(), list.sha256())).collect();
        let enforced = Enforced::of(&loaded, &lock);
        Ours { way, policy, name, list, loaded, lock, enforced, next: None, is_waiting: false, reviews: 0 }
    }

    /// How often a person had to look.
    pub(super) fn reviews(&self) -> u32 {
        self.reviews
    }

    /// `bfpc lock --refresh --keep 1d && bfpc build`
    fn refresh(&mut self, history: &History, now: Moment) {
        let is_changing = resolve::changing_names(&self.loaded.syntax).contains(&self.name);
        let changes = if is_changing { Changes::Allowed } else { Changes::Frozen };
        let Some(before) = self.lock.names.get(&self.name) else { return };
        let refreshed = lock::refresh(before, live(history, now), changes, self.way.keep);
        let strays = Bounds::of(&self.loaded).strays(&self.name, &refreshed.entry.current());
        if !refreshed.reviews.is_empty() || !strays.is_empty() {
            self.is_waiting = true;
            return;
        }
        self.is_waiting = false;
        let is_same = before.addresses == refreshed.entry.addresses;
        self.lock.names.insert(self.name.clone(), refreshed.entry);
        if !is_same {
            self.build(now);
        }
    }

    fn build(&mut self, now: Moment) {
        self.lock.files = resolve::lists(&self.loaded).map(|list| (list.name.clone(), list.sha256())).collect();
        self.next = Some((now + self.way.roll_out, Enforced::of(&self.loaded, &self.lock)));
    }

    /// A person looks at what `drift` and `lock --refresh` have reported. A list that changed is fetched and reviewed.
    fn look(&mut self, history: &History, now: Moment) {
        let published = history.published(now);
        self.reviews += u32::from(self.is_waiting || published != self.list);
        if published != self.list {
            self.list = published;
            self.loaded = loaded(&self.policy, published);
            self.build(now);
        }
    }
}

impl Strategy for Ours<'_> {
    fn tick(&mut self, history: &History, now: Moment) {
        if now % DAY == LOOKS_AT {
            self.look(history, now);
        }
        if now.is_multiple_of(self.way.every) && now > 0 {
            self.refresh(history, now);
        }
        if let Some((_, enforced)) = self.next.take_if(|(then, _)| now >= *then) {
            self.enforced = enforced;
        }
    }

    /// The hosts file answers, not DNS. The C library orders what it finds; here, each query begins elsewhere.
    fn ask(&mut self, history: &History, now: Moment, client: u64) -> Vec<Ipv4Addr> {
        if !self.way.has_hosts {
            return history.answer(now, client_query(now, client));
        }
        let mut told = self.enforced.hosts.clone();
        let first = super::random::below(told.len().max(1) as u64, &[client_query(now, client)]);
        told.rotate_left(first as usize);
        told
    }

    fn allows(&mut self, address: Ipv4Addr) -> bool {
        self.enforced.verdict(address, true)
    }

    fn allows_others(&mut self, address: Ipv4Addr) -> bool {
        self.enforced.verdict(address, false)
    }
}

impl Enforced {
    #[expect(clippy::panic, reason = "a bench talks to the person who started it")]
    fn of(loaded: &Loaded, lock: &Lock) -> Enforced {
        // As it is read again from the file.
        let lock_text = lock.to_text();
        let Ok(lock) = Lock::parse(&lock_text) else { panic!("a lock that was written is read: {lock_text}") };
        let source = Source { loaded, stem: "replay", lock_text: &lock_text, lock: &lock };
        let compiled = match pipeline::compile(&source) {
            Ok(compiled) => compiled,
            Err(findings) => panic!("{lock_text}\n{findings:?}"),
        };
        let hosts: BTreeSet<IpAddr> = compiled.debug.names.iter().map(|known| known.address).collect();
        let v4 = |address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let program = compiled.image.label_of("/usr/bin/app");
        Enforced {
            image: compiled.image,
            program,
            hosts: hosts.into_iter().filter_map(v4).collect(),
            known: HashMap::new(),
        }
    }

    fn verdict(&mut self, address: Ipv4Addr, of_program: bool) -> bool {
        let (image, program) = (&self.image, &self.program);
        *self.known.entry((address, of_program)).or_insert_with(|| {
            let label = if of_program { program } else { &Label::UNLISTED };
            let request = Request { address: Address::V4(address.to_bits()), port: 443, protocol: Protocol::Tcp };
            decide(image, label, &request).is_allowed()
        })
    }
}

#[expect(clippy::panic, reason = "a bench talks to the person who started it")]
fn loaded(policy: &str, list: &'static str) -> Loaded {
    match load::load_text("policy.bfp", "policy.bfp", policy, Path::new(""), &List(list)) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{:?}", failure.findings),
    }
}

/// The union of three rounds, as `bfpc lock` makes it.
fn live(history: &History, now: Moment) -> LockedName {
    let rounds: Vec<BTreeSet<Ipv4Addr>> = (0..ROUNDS)
        .map(|round| history.answer(now, client_query(now, OWN_QUERY + round)).into_iter().collect())
        .collect();
    let is_stable = rounds.windows(2).all(|pair| pair.first() == pair.last());
    let start = time::macros::datetime!(2026-03-01 00:00 UTC);
    LockedName {
        addresses: rounds.into_iter().flatten().map(IpAddr::V4).collect(),
        cname: Vec::new(),
        ttl_seconds: history.ttl() * 60,
        stability: if is_stable { Stability::Stable } else { Stability::Rotating },
        dnssec: Dnssec::Unproven,
        ipv4_only: None,
        resolvers: vec!["192.0.2.53".to_owned()],
        resolved_at: ResolvedAt::new(start + Duration::from_mins(u64::from(now))),
        seen: BTreeMap::new(),
    }
}
