/** Reads the `.cpuprofile` files that threads of the gateway left, and says where the packet worker's time went. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

interface Profile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }>
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

const shown = 30

/** The functions with the most time of their own, in the thread that touched packets longest. */
export const hottest = (directory: string): string => {
  const profiles = readdirSync(directory)
    .filter((name) => name.endsWith(".cpuprofile"))
    .map((name) => selfTimes(JSON.parse(readFileSync(join(directory, name), "utf8")) as Profile))
  const worker = profiles.toSorted((a, b) => engineTime(b) - engineTime(a))[0]
  if (worker === undefined) return "no profile was written"
  const busy = [...worker].filter(([name]) => !/^\((idle|program)\)|^poll /.test(name))
  const total = busy.reduce((sum, [, time]) => sum + time, 0)
  const rows = busy
    .toSorted((a, b) => b[1] - a[1])
    .slice(0, shown)
    .map(
      ([name, time]) =>
        `${((time / total) * 100).toFixed(1).padStart(6)} %  ${(time / 1e6).toFixed(2).padStart(7)} s  ${name}`
    )
  return ["the packet worker's time by function, without waiting", ...rows].join("\n")
}

/** Microseconds by function. */
const selfTimes = ({ nodes, samples, timeDeltas }: Profile): Map<string, number> => {
  const names = new Map(
    nodes.map(({ callFrame: { functionName, lineNumber, url }, id }) => [
      id,
      `${functionName || "(anonymous)"} ${url.split("/").slice(-2).join("/")}:${lineNumber + 1}`
    ])
  )
  const times = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const name = names.get(id) ?? "?"
    times.set(name, (times.get(name) ?? 0) + (timeDeltas[i] ?? 0))
  }
  return times
}

const engineTime = (times: ReadonlyMap<string, number>): number => {
  let sum = 0
  for (const [name, time] of times) if (/ (engine|wireguard|native)\//.test(name)) sum += time
  return sum
}
