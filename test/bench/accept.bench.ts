/**
 * How fast a client gets in while the company's DNS is a black hole: `npm run bench:accept`. A real gateway in the lab;
 * one load generator with its own WireGuard, real UDP. The gateway is judged by the kernel's time stamps on its wire;
 * what the generator itself sees has the generator's own delays in it. Options: `--clients`, `--rate` (per second),
 * `--sources`, `--timeline`, `--json`, `--record`.
 */
import { Effect } from "effect"
import { acceptRun, acceptTitle } from "./support/acceptRun.ts"
import { runBench } from "./support/benchLab.ts"
import { report } from "./support/report.ts"

await runBench(Effect.map(acceptRun, (measures) => report(acceptTitle, measures)))
