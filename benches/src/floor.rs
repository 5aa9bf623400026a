//! The floor: a blocking TCP echo that appends the request to a file full of zeros and syncs it before it answers.
//! Nothing durable can be faster in this shape, so every figure is told as a ratio to it. It must stay free of
//! anything an engine does beyond that: no decoding, no threads, no batching.

use crate::client::Link;
use crate::engine::{beside, end, lines_of, listening, spawn_bound, workplace, zeroed};
use crate::fault::Fault;
use crate::measure::{Series, machine, summaries};
use clap::ValueEnum;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Zeros that are laid before the first append: a journal's segment.
const FILE: usize = 64 << 20;
const PAGE: usize = 4096;
/// Bytes of a floor's reply, where no reply of the target was seen before: those of our 0110.
pub(crate) const REPLY: usize = 127;
/// Bytes of the body of an ask, about those of ours.
const ASK: usize = 1000;
/// How long a floor may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the floor makes bytes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// Buffered append, then `fdatasync`: the floor of every ratio.
    Fdatasync,
    /// 4 KiB blocks with `O_DIRECT|O_DSYNC`, for information.
    Direct,
}

/// Arguments of `floor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: benches floor --samples 5000")]
pub(crate) struct Args {
    /// Samples of each floor
    #[arg(long, default_value_t = 2000)]
    samples: usize,
    /// Bytes of a request
    #[arg(long, default_value_t = 220)]
    request: usize,
    /// Bytes of a reply
    #[arg(long, default_value_t = 140)]
    reply: usize,
    /// Where to put the file (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `floor-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The file to append to; it is filled with zeros first
    #[arg(long)]
    file: PathBuf,
    /// Bytes of each reply
    #[arg(long)]
    reply: usize,
    /// How bytes become durable
    #[arg(long, value_enum)]
    how: How,
    /// A partner that is asked while the bytes become durable; its answer becomes durable as well
    #[arg(long, value_name = "HOST:PORT")]
    partner: Option<SocketAddr>,
}

/// Runs `floor`: both ways, in turns of 50.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let request: Vec<u8> = (0..args.request).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
    let mut floors = [How::Fdatasync, How::Direct]
        .map(|how| Floor::start(place.path(), how, args.reply).map(|floor| (floor, Series::default())));
    for floor in floors.iter_mut().flatten() {
        (0..200).try_for_each(|_| floor.0.sample(&request).map(drop))?;
    }
    let mut done = 0;
    while done < args.samples {
        let turn = (args.samples - done).min(50);
        for (floor, series) in floors.iter_mut().flatten() {
            for _ in 0..turn {
                series.push(floor.sample(&request)?);
            }
        }
        done += turn;
    }
    let [buffered, direct] = floors;
    let (_, buffered) = buffered?;
    let mut rows = vec![buffered.summary("floor: append + fdatasync")];
    match direct {
        Ok((_, series)) => rows.push(series.summary("O_DIRECT|O_DSYNC, 4 KiB")),
        Err(fault) => eprintln!("no figure for O_DIRECT: {fault}"),
    }
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "machine": machine(), "request": args.request, "reply": args.reply, "floors": rows })
        );
    } else {
        println!("{}; {} bytes in, {} bytes out, one in flight, in turns of 50", machine(), args.request, args.reply);
        println!("{}", summaries(&rows.iter().collect::<Vec<_>>()));
    }
    Ok(ExitCode::SUCCESS)
}

/// A floor server in a process of its own, and a connection to it. Dropping it ends the process.
pub(crate) struct Floor {
    child: Child,
    link: Link,
    reply: Vec<u8>,
}

impl Floor {
    /// Starts a server whose file lies in `dir`, and connects.
    pub(crate) fn start(dir: &Path, how: How, reply: usize) -> Result<Floor, Fault> {
        Floor::launch(dir, how, reply, None)
    }

    /// The floor of a tap that a partner decides: append, the longer of the sync and one bare exchange with the
    /// partner, append and sync of its answer.
    pub(crate) fn asking(dir: &Path, reply: usize, partner: SocketAddr) -> Result<Floor, Fault> {
        Floor::launch(dir, How::Fdatasync, reply, Some(partner))
    }

    fn launch(dir: &Path, how: How, reply: usize, partner: Option<SocketAddr>) -> Result<Floor, Fault> {
        let name = match how {
            How::Fdatasync => "fdatasync",
            How::Direct => "direct",
        };
        let mut command = Command::new(beside("benches")?);
        command.args(["floor-server", "--how", name, "--reply", &reply.to_string(), "--file"]);
        command.arg(dir.join(format!("floor-{name}")));
        if let Some(partner) = partner {
            command.arg("--partner").arg(partner.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn_bound(&mut command).map_err(Fault::io("starting the floor's server"))?;
        let line = lines_of(&mut child).recv_timeout(PATIENCE).unwrap_or_default();
        let connected = match listening(&line) {
            Some(addr) => Link::connect(addr, PATIENCE).map_err(Fault::io("connecting to the floor's server")),
            None => Err(Fault::Engine(format!("the floor's server ({name}) did not start"))),
        };
        match connected {
            Ok(link) => Ok(Floor { child, link, reply: Vec::new() }),
            Err(fault) => {
                end(&mut child);
                Err(fault)
            }
        }
    }

    /// One exchange, and how long it took.
    pub(crate) fn sample(&mut self, request: &[u8]) -> Result<Duration, Fault> {
        let from = Instant::now();
        self.link.exchange(request, &mut self.reply).map_err(Fault::io("an exchange with the floor's server"))?;
        Ok(from.elapsed())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Runs `floor-server`: one connection at a time, until it is killed.
pub(crate) fn serve(args: &ServerArgs) -> Result<ExitCode, Fault> {
    let mut journal = Appender::open(&args.file, args.how)?;
    let mut partner = match args.partner {
        None => None,
        Some(addr) => {
            let asked = Asked::connect(addr);
            Some(asked.map_err(Fault::io(format!("connecting the floor to the partner {addr}")))?)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Fault::io("listening on 127.0.0.1"))?;
    let addr = listener.local_addr().map_err(Fault::io("the floor's own address"))?;
    println!("floor listening on {addr}");
    loop {
        let (stream, _) = listener.accept().map_err(Fault::io("accepting a connection"))?;
        match echo(stream, &mut journal, partner.as_mut(), args.reply) {
            Ok(()) => {}
            // The peer is done; the next one may come.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(Fault::Io { what: "the floor's exchange".to_owned(), source: error }),
        }
    }
}

fn echo(
    mut stream: TcpStream,
    journal: &mut Appender,
    mut partner: Option<&mut Asked>,
    reply: usize,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let length = u16::try_from(reply).map_err(|_| io::Error::other("a reply over 65,535 bytes"))?;
    let mut request = Vec::new();
    let mut out = length.to_be_bytes().to_vec();
    loop {
        let mut length = [0u8; 2];
        stream.read_exact(&mut length)?;
        request.resize(usize::from(u16::from_be_bytes(length)), 0);
        stream.read_exact(&mut request)?;
        if let Some(partner) = &mut partner {
            partner.ask()?;
        }
        journal.append(&request)?;
        if let Some(partner) = &mut partner {
            let answer = partner.answer()?;
            journal.append(answer)?;
        }
        out.truncate(2);
        out.extend(request.iter().copied().cycle().take(reply));
        stream.write_all(&out)?;
    }
}

/// A kept-alive connection to a partner, with one ask at a time.
struct Asked {
    stream: TcpStream,
    ask: Vec<u8>,
    inbox: Vec<u8>,
    held: usize,
}

impl Asked {
    fn connect(addr: SocketAddr) -> io::Result<Asked> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // As many bytes as the engine's ask has.
        let head = format!("POST /decide HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\n");
        let mut ask = format!("{head}content-length: {ASK}\r\n\r\n").into_bytes();
        ask.resize(ask.len() + ASK, b' ');
        Ok(Asked { stream, ask, inbox: vec![0; 16 << 10], held: 0 })
    }

    fn ask(&mut self) -> io::Result<()> {
        self.held = 0;
        self.stream.write_all(&self.ask)
    }

    /// Waits for the whole answer: its bytes.
    fn answer(&mut self) -> io::Result<&[u8]> {
        loop {
            let count = self.stream.read(self.inbox.get_mut(self.held..).unwrap_or_default())?;
            if count == 0 {
                return Err(io::Error::other("the partner closed the floor's connection or answers over 16 KiB"));
            }
            self.held += count;
            let held = self.inbox.get(..self.held).unwrap_or_default();
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(head) = response.parse(held).map_err(io::Error::other)? else { continue };
            let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
            if self.held >= head + length.unwrap_or(0) {
                return Ok(self.inbox.get(..self.held).unwrap_or_default());
            }
        }
    }
}

/// A page where `O_DIRECT` wants it.
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Appends to a file of zeros and starts again at its end.
struct Appender {
    file: File,
    at: usize,
    page: Option<Box<Page>>,
}

impl Appender {
    fn open(path: &Path, how: How) -> Result<Appender, Fault> {
        let file = zeroed(path, FILE)?;
        match how {
            How::Fdatasync => Ok(Appender { file, at: 0, page: None }),
            How::Direct => {
                let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC | OFlags::CLOEXEC;
                let opened = rustix::fs::open(path, flags, Mode::empty());
                let file =
                    opened.map_err(|e| Fault::io(format!("opening {} with O_DIRECT", path.display()))(e.into()))?;
                Ok(Appender { file: file.into(), at: 0, page: Some(Box::new(Page([0; PAGE]))) })
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.page {
            None => {
                let at = claim(&mut self.at, bytes.len());
                self.file.write_all_at(bytes, at)?;
                self.file.sync_data()
            }
            Some(page) => bytes.chunks(PAGE).try_for_each(|chunk| {
                page.0.fill(0xA5);
                page.0.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
                self.file.write_all_at(&page.0, claim(&mut self.at, PAGE))
            }),
        }
    }
}

/// Where the next bytes go: never beyond the zeros.
fn claim(at: &mut usize, length: usize) -> u64 {
    if *at + length > FILE {
        *at = 0;
    }
    let here = *at;
    *at += length;
    u64::try_from(here).unwrap_or(0)
}
