/** What a running gateway tells by HTTP: the page as a browser shows it, metrics, and what attackers do to the listener. */
import { mkdirSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { isDeepStrictEqual } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Schema } from "effect"
import type { Page } from "playwright-core"
import { isWrong, troublesOf } from "../../src/cli/troubles.ts"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { faintTexts, startBrowser } from "../support/browser.ts"
import { inLab, inner } from "../support/lab.ts"
import { assertEverythingCounted, metricsOfGateway, readyOfGateway, valueOf } from "../support/metrics.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"

const origin = "http://localhost:9820"
/** Kept for people to look at. */
const screenshots = join(tmpdir(), "sallyport-dashboard")

const others = ["alice-laptop", "bob-phone", "build-server", "carol-tablet"]
const resources = `  intranet: { name: "*.corp.internal", resolver: corp, ports: [tcp/80, icmp], allow: [visitor] }
  gone: { name: gone.corp.internal, resolver: corp, allow: [visitor] }
  late: { name: late.corp.internal, resolver: corp, allow: [visitor] }`
const clients = others
  .map(
    (name, i) =>
      `  ${name}: { public_key: "${Buffer.alloc(32, i + 1).toString("base64")}", tunnel_ipv4: 100.64.0.1${i} }`
  )
  .join("\n")

/** A name that a client may make up, and what it would do if the page took it for markup. */
const hostileName = `<img/src=x/onerror=document.title='owned'>.corp.internal`

const on = <A>(run: () => Promise<A>): Effect.Effect<A, LabError> =>
  Effect.tryPromise({ try: run, catch: (error) => new LabError({ message: String(error) }) })

const overflow = (page: Page) =>
  on(() => page.evaluate<number>("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

describe("the HTTP listener of a running gateway", () => {
  it.live(
    "shows a page that says what status says, follows it, and is fit for phone, keyboard and screen reader",
    () =>
      Effect.gen(function* () {
        const world = yield* startWorld({ resources, clients, more: "metrics_per_client: true" })
        yield* connectWireguardGo(world, { keepalive: 5 })
        const lab = yield* Lab
        const { gateway, nameServer, visitor } = world
        const names = ["build", "chat", "docs", "files", "git", "grafana", "mail", "wiki"].map(
          (name) => `${name}.corp.internal`
        )
        for (const name of names) yield* nameServer.set({ name, a: [inner.origin.v4], aaaa: [], ttl: 60 })
        yield* nameServer.set({ name: hostileName, a: [inner.origin.v4], aaaa: [], ttl: 60 })
        yield* nameServer.set({ name: "nas.corp.internal", a: [inner.nobody.v4], aaaa: [], ttl: 60 })
        for (const name of [...names, "gone.corp.internal"]) {
          yield* visitor.resolve({ server: tunnelAddresses.gateway.v4, name, type: "A" })
        }
        yield* lab.attempt("client", ["dig", `@${tunnelAddresses.gateway.v4}`, "+time=2", "+tries=1", hostileName])
        const proxy = yield* world.proxyOf(appName)
        const silent = yield* world.proxyOf("nas.corp.internal")
        yield* visitor.get({ address: proxy, path: "/bytes/3000000", timeout: 20_000 })
        yield* visitor.connect({ address: proxy, port: 22, timeout: 500 })
        yield* visitor.connect({ address: silent, timeout: 500 })

        const browser = yield* startBrowser("gateway")
        const wrongs: Array<string> = []
        const open = Effect.fnUntraced(function* (
          size: { width: number; height: number },
          colorScheme: "light" | "dark"
        ) {
          const page = yield* on(() => browser.newPage({ viewport: size, colorScheme, deviceScaleFactor: 1 }))
          page.on("pageerror", (error) => wrongs.push(error.message))
          page.on("console", (message) => {
            if (message.type() === "error" || message.type() === "warning") wrongs.push(message.text())
          })
          page.on("dialog", (dialog) => wrongs.push(dialog.message()))
          yield* on(() => page.goto(origin))
          yield* on(() => page.getByText("live", { exact: true }).waitFor({ timeout: 20_000 }))
          return page
        })
        const picture = (page: Page, name: string) =>
          on(() => page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true }))
        mkdirSync(screenshots, { recursive: true })
        const desktop = yield* open({ width: 1280, height: 900 }, "light")

        // The silent host is known after three seconds.
        yield* on(() => desktop.getByText("no answer from").waitFor({ timeout: 20_000 }))
        // Both are looked at one after the other: what they tell may have changed between.
        const { shown, troubles } = yield* Effect.all({
          troubles: Effect.map(gateway.status, troublesOf),
          shown: on(() => desktop.locator("#troubles .what").allTextContents())
        }).pipe(
          Effect.repeat({
            until: ({ shown, troubles }) =>
              isDeepStrictEqual(
                shown,
                troubles.map(({ what }) => what)
              ),
            schedule: Schedule.spaced("300 millis"),
            times: 60
          })
        )
        assert.deepStrictEqual(
          shown,
          troubles.map(({ what }) => what)
        )
        const wrong = troubles.filter(isWrong).length
        assert.isAtLeast(wrong, 2)
        yield* on(() =>
          desktop.getByRole("heading", { name: `${wrong} things are wrong` }).waitFor({ timeout: 20_000 })
        )

        const rowOf = (page: Page, table: string, text: string) =>
          on(() => page.getByRole("table", { name: table }).getByRole("row").filter({ hasText: text }).innerText())
        for (const page of [desktop, yield* open({ width: 390, height: 844 }, "dark")]) {
          assert.match(yield* rowOf(page, "Names", appName), /resolved\s[^]*10\.20\.0\.10\b[^]*visitor/)
          assert.match(yield* rowOf(page, "Names", "nas.corp"), /no answer\s[^]*10\.20\.0\.99 \(no answer\)/)
          assert.match(yield* rowOf(page, "Names", "gone.corp"), /no address\s[^]*the name does not exist/)
          assert.match(yield* rowOf(page, "Clients", "visitor"), /connected\s[^]*192\.0\.2\.2:\d+\s[^]*\d MB/)
          assert.match(yield* rowOf(page, "Clients", "bob-phone"), /away/)
          assert.match(
            yield* rowOf(page, "Last refusals", "tcp/22"),
            /visitor\s[^]*app\.corp\.internal \(100\.\d+\.\d+\.\d+\) tcp\/22[^]*ports do not let it through/
          )
          const strips = page.getByRole("table", { name: "Names" }).getByRole("img")
          assert.match((yield* on(() => strips.first().getAttribute("aria-label"))) ?? "", /^\S+( \S+)? from \d\d:\d\d/)
          assert.strictEqual(yield* overflow(page), 0)
          assert.deepStrictEqual(yield* on(() => page.evaluate<ReadonlyArray<string>>(faintTexts)), [])
        }
        const [, phone] = browser.contexts().map((context) => context.pages()[0]!)
        yield* on(() => desktop.emulateMedia({ colorScheme: "dark" }))
        assert.deepStrictEqual(yield* on(() => desktop.evaluate<ReadonlyArray<string>>(faintTexts)), [])
        yield* picture(desktop, "desktop-dark")
        yield* on(() => desktop.emulateMedia({ colorScheme: "light" }))
        yield* picture(desktop, "desktop-light")
        yield* picture(phone!, "phone-dark")
        yield* on(() => phone!.emulateMedia({ colorScheme: "light" }))
        assert.deepStrictEqual(yield* on(() => phone!.evaluate<ReadonlyArray<string>>(faintTexts)), [])
        yield* picture(phone!, "phone-light")

        // What a client has called a name is text.
        yield* on(() => desktop.getByText(hostileName).waitFor({ timeout: 20_000 }))
        assert.strictEqual(yield* on(() => desktop.locator("img").count()), 0)
        assert.notInclude(yield* on(() => desktop.title()), "owned")

        // By keyboard alone: to what is wrong, and to the field that narrows the tables down.
        yield* on(() => desktop.keyboard.press("Tab"))
        assert.strictEqual(
          yield* on(() => desktop.evaluate("document.activeElement.textContent")),
          "Skip to what is wrong"
        )
        yield* on(() => desktop.keyboard.press("Tab"))
        yield* on(() => desktop.keyboard.type("Grafana"))
        yield* on(() => desktop.getByText("1 name, 0 clients, 0 refusals").waitFor({ timeout: 20_000 }))
        assert.strictEqual(yield* on(() => desktop.getByRole("table", { name: "Names" }).getByRole("row").count()), 2)
        yield* on(() => desktop.getByRole("searchbox").fill(""))

        // Of a long list the first ones, until all are asked for.
        const named = desktop.getByRole("table", { name: "Names" }).getByRole("row")
        assert.strictEqual(yield* on(() => named.count()), 1 + 8)
        yield* on(() => desktop.getByRole("button", { name: "Show all 11" }).press("Enter"))
        assert.strictEqual(yield* on(() => named.count()), 1 + 11)

        // Nobody touches the page: it follows by itself, in both directions.
        yield* visitor.resolve({ server: tunnelAddresses.gateway.v4, name: "late.corp.internal", type: "A" })
        yield* on(() => desktop.getByText("late.corp.internal has no address").waitFor({ timeout: 20_000 }))
        yield* nameServer.set({ name: "late.corp.internal", a: [inner.origin.v4] })
        yield* visitor
          .resolve({ server: tunnelAddresses.gateway.v4, name: "late.corp.internal", type: "A" })
          .pipe(
            Effect.repeat({ until: ({ rcode }) => rcode === 0, schedule: Schedule.spaced("500 millis"), times: 40 })
          )
        yield* on(() =>
          desktop.getByText("late.corp.internal has no address").waitFor({ state: "detached", timeout: 20_000 })
        )
        assert.match(
          (yield* on(() =>
            desktop.getByRole("row").filter({ hasText: "late.corp" }).getByRole("img").getAttribute("aria-label")
          )) ?? "",
          /^no address from .*, resolved from /
        )
        yield* visitor.get({ address: proxy, path: "/bytes/3000000", timeout: 20_000 })
        yield* on(() =>
          desktop
            .locator("#to-clients-top")
            .getByText(/^peak [\d.]+ [kMG]?bit\/s in/)
            .waitFor({ timeout: 20_000 })
        )
        assert.deepStrictEqual(wrongs, [])

        // Who watches gets all of it once, then what has changed.
        const { stdout } = yield* lab.attempt("gateway", [
          "curl",
          "--silent",
          "--no-buffer",
          "--max-time",
          "4",
          `${origin}/events`
        ])
        const [first, ...later] = Array.from(stdout.matchAll(/^data: (.*)$/gm), ([, text]) =>
          Object.keys(JSON.parse(text!))
        )
        assert.includeMembers(first!, ["at", "gateway", "troubles", "names", "clients", "refusals", "samples"])
        assert.isAbove(later.length, 0)
        for (const parts of later) {
          assert.include(parts, "at")
          for (const unchanged of ["refusals", "samples"]) assert.notInclude(parts, unchanged)
        }

        const metrics = yield* metricsOfGateway
        assertEverythingCounted(metrics)
        const { clients: rows } = yield* gateway.status
        const bytes = rows.find(({ name }) => name === "visitor")?.bytesOut ?? 0
        const told = valueOf(metrics, 'sallyport_client_bytes_total{client="visitor",direction="to_client"}')
        assert.isAbove(told, 3_000_000)
        assert.isAtMost(told, bytes)
        assert.isAtLeast(valueOf(metrics, 'sallyport_client_refused_total{client="visitor"}'), 1)
        for (const series of [
          'sallyport_lookups_total{event="NameNotFound"}',
          'sallyport_dns_answers_total{rcode="NOERROR"}',
          'sallyport_dns_answers_total{rcode="NXDOMAIN"}',
          'sallyport_drops_total{at="outbound",reason="filtered"}'
        ]) {
          assert.isAtLeast(valueOf(metrics, series), 1, series)
        }

        yield* lab.exec("gateway", ["sh", "-c", `kill -STOP ${gateway.process.pid}`])
        yield* on(() => desktop.getByText(/^no word from the gateway since \d\d:\d\d/).waitFor({ timeout: 20_000 }))
        yield* lab.exec("gateway", ["sh", "-c", `kill -CONT ${gateway.process.pid}`])
        yield* on(() => desktop.getByText("live", { exact: true }).waitFor({ timeout: 20_000 }))
      }).pipe(inLab),
    { timeout: 90_000 }
  )

  it.live(
    "outlives whatever is sent to it: bounded memory, counted, health answered, no packet of the tunnel lost",
    () =>
      Effect.gen(function* () {
        const world = yield* startWorld({ resources })
        yield* connectWireguardGo(world)
        const lab = yield* Lab
        const proxy = yield* world.proxyOf()
        yield* world.visitor.retry({ address: proxy, every: 100, deadline: 10_000 })
        const memory = Effect.sync(() =>
          Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${world.gateway.process.pid}/status`, "utf8"))?.[1])
        )
        const program = fileURLToPath(new URL("../support/httpAttackMain.ts", import.meta.url))
        const attack = (hundreds: number) =>
          lab
            .exec("gateway", [process.execPath, program, "9820", `${hundreds}`], { timeout: "40 seconds" })
            .pipe(Effect.flatMap(Schema.decodeEffect(Outcome)))
        const pings = lab.exec("client", ["ping", "-i", "0.1", "-w", "12", "-W", "2", proxy], { timeout: "30 seconds" })
        yield* attack(20)
        const before = yield* memory
        const [outcome, pinged] = yield* Effect.all([attack(80), pings], { concurrency: 2 })
        const after = yield* memory

        assert.deepStrictEqual(outcome.foreign, [421, 421, 421, 421])
        assert.deepStrictEqual(new Set(outcome.odd), new Set([404]))
        assert.notInclude(outcome.huge, 200)
        assert.strictEqual(outcome.pipelined, 1)
        assert.notInclude(outcome.bodies, 200)
        assert.isAbove(outcome.opened, 4_000)
        assert.strictEqual(outcome.served, 8)
        assert.isAtMost(outcome.left, 64)
        assert.match(pinged, / 0% packet loss/)
        assert.isBelow(after - before, 48 * 1024)
        const metrics = yield* metricsOfGateway
        // Each question behind the first one of its connection ends here, without a page being made for it.
        assert.isAbove(valueOf(metrics, 'sallyport_http_events_total{key="pipelined"}'), 100)
        for (const event of ["connections_full", "foreign_host", "not_found", "malformed", "timed_out", "route_full"]) {
          assert.isAtLeast(valueOf(metrics, `sallyport_http_events_total{key="${event}"}`), 1, event)
        }
      }).pipe(inLab),
    { timeout: 90_000 }
  )

  it.live(
    "is not ready, and says why, when no DNS server is left",
    () =>
      Effect.gen(function* () {
        const world = yield* startWorld({ resources })
        yield* connectWireguardGo(world)
        const lab = yield* Lab
        const ready = Effect.retry(readyOfGateway, { schedule: Schedule.spaced("100 millis"), times: 200 })
        assert.include(yield* ready, '"ready":true')
        yield* world.nameServer.set({ mode: "closed" })
        yield* world.visitor.resolve({ server: tunnelAddresses.gateway.v4, name: "late.corp.internal", type: "A" })
        const unready = yield* lab
          .attempt("gateway", ["curl", "-s", "--max-time", "5", "-w", "%{http_code}", `${origin}/readyz`])
          .pipe(
            Effect.map(({ stdout }) => stdout),
            Effect.repeat({
              until: (text) => text.endsWith("503"),
              schedule: Schedule.spaced("200 millis"),
              times: 100
            })
          )
        assert.match(unready, /"part":"resolver","why":"no DNS server answers: .*10\.20\.0\.53/)
      }).pipe(inLab),
    { timeout: 90_000 }
  )
})

const Statuses = Schema.Array(Schema.Finite)
const Outcome = Schema.fromJsonString(
  Schema.Struct({
    foreign: Statuses,
    odd: Statuses,
    huge: Statuses,
    pipelined: Schema.Finite,
    bodies: Statuses,
    opened: Schema.Finite,
    served: Schema.Finite,
    left: Schema.Finite
  })
)
