import { Session } from "node:inspector"

/** V8's block counters of this thread, for the gateway's own code. */
export class Coverage {
  private readonly session = new Session()
  private readonly ours: string

  /** `root`: the URL of the folder with `src` and `layers`. */
  constructor(root: URL) {
    this.ours = root.href
    this.session.connect()
    this.session.post("Profiler.enable")
    this.session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true })
  }

  /** The blocks that have run since the last call. */
  take(): ReadonlyArray<string> {
    const blocks: Array<string> = []
    this.session.post("Profiler.takePreciseCoverage", (error, taken) => {
      if (error !== null) throw error
      for (const { functions, scriptId, url } of taken.result) {
        if (!url.startsWith(`${this.ours}src/`) && !url.startsWith(`${this.ours}layers/`)) continue
        for (const { ranges } of functions)
          for (const { count, endOffset, startOffset } of ranges)
            if (count > 0) blocks.push(`${scriptId}:${startOffset}:${endOffset}`)
      }
    })
    return blocks
  }

  /** Counting costs a third of the speed. */
  stop(): void {
    this.session.post("Profiler.stopPreciseCoverage")
    this.session.post("Profiler.disable")
    this.session.disconnect()
  }
}
