/** Parts of the page that are loaded when they are first shown. */
import { lazy, type ComponentType, type LazyExoticComponent } from "react";
import { stream } from "@/api/stream";

/** Like React's lazy, but while the server is away it waits: browsers remember for ever that a module did not come. */
export function lazyPart<Props extends object>(load: () => Promise<{ default: ComponentType<Props> }>): LazyExoticComponent<ComponentType<Props>> {
  return lazy(async () => {
    if (stream.connection === "lost") await serverIsBack();
    return load();
  });
}

function serverIsBack(): Promise<void> {
  return new Promise((resolve) => {
    const stop = stream.watch(() => {
      if (stream.connection !== "open") return;
      stop();
      resolve();
    });
  });
}
