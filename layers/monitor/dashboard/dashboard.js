// What comes from the network is only ever text: `textContent`, never markup.
const element = (id) => document.getElementById(id)
const say = (id, text) => {
  if (element(id).textContent !== text) element(id).textContent = text
}

const ago = (from, now) => {
  if (from === null) return "never"
  const seconds = Math.max(0, Math.round((now - from) / 1000))
  if (seconds < 60) return `${seconds} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`
  return `${Math.floor(seconds / 86_400)} d ago`
}
const rate = (bytes) => {
  const bits = bytes * 8
  if (bits < 1e3) return `${Math.round(bits)} bit/s`
  if (bits < 1e6) return `${(bits / 1e3).toFixed(1)} kbit/s`
  if (bits < 1e9) return `${(bits / 1e6).toFixed(1)} Mbit/s`
  return `${(bits / 1e9).toFixed(2)} Gbit/s`
}

/** Makes the children of `parent` as many as `rows`, and each as `fill` has it: rows that stay are kept. */
const list = (parent, tag, rows, fill) => {
  while (parent.children.length > rows.length) parent.lastElementChild.remove()
  while (parent.children.length < rows.length) parent.append(document.createElement(tag))
  for (const [i, row] of rows.entries()) fill(parent.children[i], row)
}
const cell = (node, [text, kind = ""]) => {
  if (node.textContent !== text) node.textContent = text
  if (node.className !== kind) node.className = kind
}
const table = (id, rows) => list(element(id), "tr", rows, (row, cells) => list(row, "td", cells, cell))

const maxPoints = 120
const lines = new Map()
const draw = (id, value) => {
  const points = lines.get(id) ?? []
  points.push(value)
  if (points.length > maxPoints) points.shift()
  lines.set(id, points)
  const top = Math.max(1, ...points)
  const text = points
    .map((point, i) => `${i === 0 ? "M" : "L"}${maxPoints - points.length + i} ${31 - (point / top) * 30}`)
    .join("")
  element(`${id}-line`).firstElementChild.setAttribute("d", text)
}

let last = null
const traffic = ({ at, traffic: now }) => {
  const seconds = last === null ? 0 : (at - last.at) / 1000
  if (seconds > 0) {
    const each = (key) => Math.max(0, now[key] - last.traffic[key]) / seconds
    say("from-clients", rate(each("fromClients")))
    say("to-clients", rate(each("toClients")))
    say("refused-rate", `${each("refused").toFixed(1)} packets/s`)
    draw("from-clients", each("fromClients"))
    draw("to-clients", each("toClients"))
    draw("refused-rate", each("refused"))
  }
  say("sessions", String(now.sessions))
  draw("sessions", now.sessions)
  last = { at, traffic: now }
}

const states = { Resolved: "good", Stale: "warn", Resolving: "", Unresolved: "bad" }
const show = (view) => {
  const { at, clients, names, problems, refused } = view
  const wrong =
    problems.length > 0
      ? problems.map((text) => [text, "bad"])
      : [["Tunnel, host, packet worker and DNS servers work.", "good"]]
  list(element("problems"), "li", wrong, cell)
  traffic(view)
  list(element("refused"), "li", refused, (node, { packets, reason }) =>
    cell(node, [`${reason.replaceAll("_", " ")}: ${packets}`])
  )
  say("clients-count", `${clients.connected} of ${clients.all} connected`)
  table(
    "clients",
    clients.rows.map(({ connected, from, handshakeAt, name }) => [
      [name],
      connected ? ["connected", "good"] : ["away"],
      [from ?? "–"],
      [ago(handshakeAt, at)]
    ])
  )
  say("names-count", names.failing === 0 ? `${names.all}` : `${names.failing} of ${names.all} fail`)
  table(
    "names",
    names.rows.map(({ addresses, client, domain, reason, since, state }) => [
      [domain],
      [state.toLowerCase(), states[state]],
      [reason ?? (addresses.join(", ") || "–")],
      [ago(since, at)],
      [client]
    ])
  )
}

const source = new EventSource("/events")
source.addEventListener("message", ({ data }) => {
  show(JSON.parse(data))
  say("link", "live")
})
source.addEventListener("error", () => say("link", "not connected, trying again …"))
