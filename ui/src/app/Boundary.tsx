/** A page that fails to draw leaves the navigation alone. */
import { Button } from "@mantine/core";
import { Component, type ReactNode } from "react";
import { Empty } from "@/common/notices";

export class Boundary extends Component<{ children: ReactNode }, { failure: Error | null }> {
  override state: { failure: Error | null } = { failure: null };

  static getDerivedStateFromError(failure: Error) {
    return { failure };
  }

  override render(): ReactNode {
    const { failure } = this.state;
    if (failure === null) return this.props.children;
    const reload = (
      <Button variant="default" onClick={() => window.location.reload()}>
        Load the page again
      </Button>
    );
    return (
      <Empty title="This page could not be drawn." action={reload}>
        {failure.message}. If the server was updated meanwhile, loading the page again helps.
      </Empty>
    );
  }
}
