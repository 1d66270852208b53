// What comes from the network is only ever text: `textContent`, never markup.
const element = (id) => document.getElementById(id)
const say = (node, text) => {
  if (node.textContent !== text) node.textContent = text
}
const set = (node, name, value) => {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value)
}

const age = (from, now) => {
  const seconds = Math.max(0, now - from)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}
const ago = (from, now) => (from === null ? "never" : `${age(from, now)} ago`)
const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })
const scaled = (value, units) => {
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}
const bits = (bytes) => scaled(bytes * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"])
const size = (bytes) => scaled(bytes, ["B", "kB", "MB", "GB", "TB"])
const packetRate = (rate) => scaled(rate, ["packets/s", "k packets/s", "M packets/s"])
const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`

/** Makes the children of `parent` as many as `rows`, and each as `fill` has it: rows that stay are kept. */
const list = (parent, make, rows, fill) => {
  while (parent.children.length > rows.length) parent.lastElementChild.remove()
  while (parent.children.length < rows.length) parent.append(make())
  for (const [i, row] of rows.entries()) fill(parent.children[i], row)
}
const tag = (name, attributes = {}) => {
  const node = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  return node
}

/** Of a long list; the worst and the latest come first. */
const shownFirst = 8
const opened = new Set()
const foldable = ["troubles", "names", "clients", "refusals"]
/** The rows that are shown: the first few, until somebody asks for all, or for some in particular. */
const unfolded = (id, rows, asked = false) => {
  const button = element(`${id}-more`)
  const isOpen = opened.has(id)
  button.hidden = asked || rows.length <= shownFirst + 1
  set(button, "aria-expanded", String(isOpen))
  say(button, isOpen ? `Show the first ${shownFirst}` : `Show all ${rows.length}`)
  return isOpen || button.hidden ? rows : rows.slice(0, shownFirst)
}

/** A row of cells, each `{ text, kind }`, or with a `draw` of its own. */
const table = (id, rows) => {
  const body = element(id)
  const labels = [...body.parentElement.querySelectorAll("th")].map((head) => head.textContent)
  const fillRow = (row, cells) =>
    list(
      row,
      () => tag("td", { role: "cell", "data-label": labels[row.children.length] }),
      cells,
      (cell, { draw, kind = "", text }) => {
        set(cell, "class", kind)
        if (draw === undefined) say(cell, text)
        else draw(cell)
      }
    )
  list(body, () => tag("tr", { role: "row" }), rows, fillRow)
  body.parentElement.hidden = rows.length === 0
  const none = body.parentElement.nextElementSibling
  none.hidden = rows.length > 0
  say(none, searched() === "" ? none.dataset.none : "None matches.")
}
const searched = () => element("find").value.trim().toLowerCase()

// What is wrong

const gravities = { outage: "Outage", failing: "Failing", odd: "Odd", note: "Note" }
const verdictOf = ({ rows, wrong }) => {
  if (wrong > 0) return `${many(wrong, "thing is", "things are")} wrong`
  return rows.length === 0 ? "Nothing is wrong" : "Nothing is wrong, but good to know:"
}
const showTroubles = ({ at, troubles }) => {
  const { all, rows, wrong } = troubles
  const verdict = verdictOf(troubles)
  say(element("verdict"), verdict)
  document.title = `${wrong > 0 ? `(${wrong}) ` : ""}Sallyport`
  const kind = wrong === 0 ? "good" : rows[0].gravity === "odd" ? "odd" : "bad"
  set(element("wrong"), "class", kind)
  const make = () => {
    const item = tag("li")
    for (const part of ["badge", "what", "since", "next"]) item.append(tag("span", { class: part }))
    return item
  }
  list(element("troubles"), make, unfolded("troubles", rows), (item, { gravity, next, since, what }) => {
    const [badge, text, time, fix] = item.children
    say(badge, gravities[gravity])
    set(badge, "class", `badge ${gravity}`)
    say(text, what)
    say(time, since === null ? "" : gravity === "note" ? ago(since, at) : `for ${age(since, at)}`)
    say(fix, next)
  })
  const omitted = element("troubles-omitted")
  omitted.hidden = all === rows.length
  say(omitted, `and ${all - rows.length} more: sallyport status tells all`)
}

// Traffic

const maxPoints = 300
const figures = {
  "from-clients": { of: (now, before, seconds) => (now.fromClients - before.fromClients) / seconds, text: bits },
  "to-clients": { of: (now, before, seconds) => (now.toClients - before.toClients) / seconds, text: bits },
  dropped: { of: (now, before, seconds) => (now.dropped - before.dropped) / seconds, text: packetRate },
  flows: { of: (now) => now.flows, text: String }
}
let samples = []
const showTraffic = ({ at, drops, traffic }) => {
  // Somebody has set the gateway's clock back.
  if (at < (samples.at(-1)?.at ?? at)) samples = []
  const last = samples.at(-1)
  if (last === undefined || at > last.at) samples.push({ at, ...traffic })
  samples = samples.slice(-maxPoints - 1)
  for (const [id, { of, text }] of Object.entries(figures)) {
    const points = samples
      .slice(1)
      .map((now, i) => Math.max(0, of(now, samples[i], Math.max(1, now.at - samples[i].at))))
    const top = Math.max(...points, 0)
    const x = (i) => maxPoints - points.length + 1 + i
    const line = points.map((point, i) => `L${x(i)} ${39 - (top === 0 ? 0 : (point / top) * 37)}`).join("")
    set(element(`${id}-line`), "d", points.length < 2 ? "" : `M${x(0)} 40${line}L${x(points.length - 1)} 40Z`)
    say(element(id), points.length === 0 ? "–" : text(points.at(-1)))
    const span = samples.length < 2 ? 0 : at - samples[0].at
    say(element(`${id}-top`), span === 0 ? "" : `peak ${text(top)} in ${age(0, span)}`)
  }
  const made = () => tag("li")
  const what = ({ at: where, packets, reason }) => `${where} ${reason.replaceAll("_", " ")}: ${packets}`
  list(element("drops"), made, drops.length === 0 ? [null] : drops, (item, drop) =>
    say(item, drop === null ? "none" : what(drop))
  )
}

// Tables

const stateKinds = { Resolved: "good", Stale: "odd", Resolving: "quiet", Unresolved: "bad" }
const stateWords = { Resolved: "resolved", Stale: "stale", Resolving: "resolving", Unresolved: "no address" }
const heights = { Resolved: 5, Stale: 10, Resolving: 3, Unresolved: 16 }
/** Of the last hour as much as the gateway has lived, in seconds. */
const spanOf = ({ at, gateway }) => Math.min(3600, Math.max(300, at - gateway.startedAt))
const svg = "http://www.w3.org/2000/svg"

/** A strip of the last `span` seconds: each stretch as long as it lasted, as high as it is bad. */
const drawTimeline = (now, span, timeline) => (cell) => {
  if (cell.firstElementChild === null) {
    const strip = document.createElementNS(svg, "svg")
    for (const [name, value] of [
      ["role", "img"],
      ["preserveAspectRatio", "none"]
    ]) {
      strip.setAttribute(name, value)
    }
    cell.append(strip)
  }
  const strip = cell.firstElementChild
  set(strip, "viewBox", `0 0 ${span} 16`)
  const start = now - span
  const ends = [...timeline.slice(1).map(({ from }) => from), now]
  const known = Math.max(start, timeline[0].from)
  const stretches = [
    { kind: "before", from: start, to: known, height: 2 },
    ...timeline.map(({ from, state }, i) => ({
      kind: state,
      from: Math.max(start, from),
      to: Math.max(start, ends[i]),
      height: heights[state]
    }))
  ].filter(({ from, to }) => to >= from)
  list(
    strip,
    () => document.createElementNS(svg, "rect"),
    stretches,
    (rect, { from, height, kind, to }) => {
      // What lasted for seconds only is seen as well.
      const width = Math.max(kind === "before" ? 0 : span / 150, to - from)
      set(rect, "class", kind)
      set(rect, "x", String(Math.min(from - start, span - width)))
      set(rect, "width", String(width))
      set(rect, "y", String(16 - height))
      set(rect, "height", String(height))
    }
  )
  const told = timeline.slice(-8).map(({ from, state }) => `${stateWords[state]} from ${clock(from)}`)
  set(strip, "aria-label", told.join(", "))
}

const nameCells = (at, span) => (name) => {
  const { addresses, clients, domain, moreAddresses, reason, state, timeline } = name
  const dead = addresses.some(({ answers }) => !answers)
  const found = addresses.map(({ address, answers }) => (answers ? address : `${address} (no answer)`))
  if (moreAddresses > 0) found.push(`and ${moreAddresses} more`)
  const text = [found.join(", "), reason ?? ""].filter((part) => part !== "").join("; ")
  const healthy = state === "Resolved" && !dead
  return [
    { text: domain },
    healthy || state !== "Resolved"
      ? { text: stateWords[state], kind: `state ${stateKinds[state]}` }
      : { text: "no answer", kind: "state bad" },
    { text: text === "" ? "–" : text },
    { draw: drawTimeline(at, span, timeline), kind: "timeline" },
    { text: clients }
  ]
}
const clientCells = (at) => (client) => [
  { text: client.name },
  client.connected ? { text: "connected", kind: "state good" } : { text: "away", kind: "state quiet" },
  { text: client.from === null ? "–" : `${client.from}${client.path === null ? "" : `, ${client.path}`}` },
  { text: ago(client.handshakeAt, at), kind: "number" },
  { text: ago(client.activeAt, at), kind: "number" },
  { text: size(client.bytesIn), kind: "number" },
  { text: size(client.bytesOut), kind: "number" },
  { text: String(client.flows), kind: "number" },
  { text: String(client.refused), kind: "number" }
]
const refusalCells = (at) => (refusal) => [
  { text: ago(refusal.at, at), kind: "number" },
  { text: refusal.client },
  { text: refusal.to },
  { text: refusal.reason },
  { text: String(refusal.packets), kind: "number" }
]

const showTables = ({ at, clients, gateway, names, refusals }) => {
  const wanted = searched()
  const has = (...texts) => wanted === "" || texts.some((text) => (text ?? "").toLowerCase().includes(wanted))
  const shown = {
    names: names.rows.filter(({ addresses, clients, domain }) =>
      has(domain, clients, ...addresses.map(({ address }) => address))
    ),
    clients: clients.rows.filter(({ from, name, tunnel }) => has(name, from, tunnel)),
    refusals: refusals.filter(({ client, reason, to }) => has(client, reason, to))
  }
  const span = spanOf({ at, gateway })
  say(element("span"), span === 3600 ? "hour" : age(0, span))
  const cells = { names: nameCells(at, span), clients: clientCells(at), refusals: refusalCells(at) }
  for (const [id, rows] of Object.entries(shown)) table(id, unfolded(id, rows, wanted !== "").map(cells[id]))
  const hidden = (all, rows) => (all > rows ? `, ${all - rows} not shown` : "")
  const failing = names.failing === 0 ? "" : `, ${names.failing} failing`
  say(element("names-count"), `${many(names.all, "name")}${failing}${hidden(names.all, names.rows.length)}`)
  say(
    element("clients-count"),
    `${clients.connected} of ${clients.all} connected${hidden(clients.all, clients.rows.length)}`
  )
  say(
    element("found"),
    wanted === ""
      ? ""
      : `${many(shown.names.length, "name")}, ${many(shown.clients.length, "client")}, ${many(shown.refusals.length, "refusal")}`
  )
}

// The gateway's word, once a second

let view
const show = (news) => {
  if (news.samples !== undefined) samples = news.samples
  view = { ...view, ...news }
  const { at, gateway } = view
  const kind = gateway.kind === "portal" ? "portal" : "endpoint"
  say(element("gateway"), `${kind} ${gateway.endpoint}, up ${age(gateway.startedAt, at)}`)
  showTroubles(view)
  showTraffic(view)
  showTables(view)
}
for (const id of foldable) {
  element(`${id}-more`).addEventListener("click", () => {
    if (!opened.delete(id)) opened.add(id)
    showTroubles(view)
    showTables(view)
  })
}
element("find").addEventListener("input", () => {
  if (view !== undefined) showTables(view)
})

const tell = (kind, text) => {
  set(element("link"), "class", kind)
  say(element("link"), text)
}
const silentAfter = 5_000
let silence
const watch = () => {
  const source = new EventSource("/events")
  const lost = () => tell("lost", `no word from the gateway${view === undefined ? "" : ` since ${clock(view.at)}`}`)
  source.addEventListener("message", ({ data }) => {
    show(JSON.parse(data))
    tell("live", "live")
    clearTimeout(silence)
    silence = setTimeout(lost, silentAfter)
  })
  source.addEventListener("error", () => {
    lost()
    // Refused, not lost: the browser itself does not try again.
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, silentAfter)
  })
}
watch()
