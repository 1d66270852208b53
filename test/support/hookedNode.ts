/** Code for `node --import`: every module that the process loads, node's own too, is noted in the file at its end. */
export const noting = (listFile: string): string => `import { registerHooks } from "node:module"
import { writeFileSync } from "node:fs"
const urls = []
registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) })
process.on("exit", () => writeFileSync(${JSON.stringify(listFile)}, JSON.stringify(urls)))`

/** Code for `node --import`: the process believes that its node is version 20; one that it starts instead does not. */
export const oldNode =
  'Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.20.2" } });'

export const importing = (code: string): ReadonlyArray<string> => [
  "--import",
  `data:text/javascript,${encodeURIComponent(code)}`
]
