/**
 * The bill of materials of what is shipped, as CycloneDX JSON: what `npm sbom` says of the lock file, without what only
 * helps to build. `npm run sbom` prints it, of the program in `dist`; the same commit gives the same bytes.
 */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { commitTime } from "./commitTime.ts"
import { npm } from "./npm.ts"
import { packagesInside } from "./notices.ts"

interface Component {
  readonly "bom-ref": string
  readonly name: string
  readonly version: string
  readonly properties: ReadonlyArray<{ readonly name: string; readonly value: string }>
}

interface Sbom {
  readonly metadata: { readonly component: Component }
  readonly components: ReadonlyArray<Component>
  readonly dependencies: ReadonlyArray<{ readonly ref: string; readonly dependsOn: ReadonlyArray<string> }>
}

const development = "cdx:npm:package:development"

export const readSbom = (root: string): string => {
  const [command, ...args] = npm("sbom", "--sbom-format", "cyclonedx", "--package-lock-only")
  return execFileSync(command, args, { cwd: root, encoding: "utf8", timeout: 60_000 })
}

/** `inside`: names of the packages that the program holds a part of. `seconds`: of the commit, since 1970. */
export const shippedOnly = (sbom: string, inside: ReadonlyArray<string>, seconds: number): string => {
  const whole: Sbom = JSON.parse(sbom)
  const isForDevelopment = ({ properties }: Component): boolean => properties.some(({ name }) => name === development)
  const components = whole.components
    .filter((component) => inside.includes(component.name) || !isForDevelopment(component))
    .map((component) => ({
      ...component,
      properties: component.properties.filter(({ name }) => name !== development)
    }))
  const main = whole.metadata.component
  const refs = new Set([main, ...components].map((component) => component["bom-ref"]))
  const dependencies = whole.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => refs.has(other)) }))
  const hash = createHash("sha256")
    .update(JSON.stringify([main["bom-ref"], components, seconds]))
    .digest("hex")
  const uuid = hash.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, "$1-$2-8$3-8$4-$5")
  return `${JSON.stringify(
    {
      ...whole,
      serialNumber: `urn:uuid:${uuid}`,
      metadata: {
        ...whole.metadata,
        timestamp: new Date(seconds * 1000).toISOString(),
        // npm takes the folder's.
        component: { ...main, name: main["bom-ref"].replace(/@[^@]+$/, "") }
      },
      components,
      dependencies
    },
    null,
    2
  )}\n`
}

if (import.meta.main) {
  const root = fileURLToPath(new URL("../..", import.meta.url))
  process.stdout.write(shippedOnly(readSbom(root), packagesInside(Path.join(root, "dist")), commitTime(root)))
}
