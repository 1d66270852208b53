/** What the lab needs from the machine. */

export const needsRoot =
  "network namespaces may not be made by this user and the kernel allows no user namespace for it: run it with sudo"

/** One line with the fix, or `null` when nothing is missing. */
export const lackOf = (found: {
  readonly root: boolean
  readonly tun: "usable" | "denied" | "missing"
}): string | null => {
  if (!found.root) return needsRoot
  if (found.tun === "denied") return "/dev/net/tun may not be opened by this user: run it with sudo"
  if (found.tun === "usable") return null
  return "there is no /dev/net/tun: load the module (sudo modprobe tun), or give the container --device /dev/net/tun"
}
