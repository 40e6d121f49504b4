/** The New run sheet, open wherever the address has `new=1`. */
import { Drawer } from "@mantine/core";
import { Suspense } from "react";
import { useSearchParams } from "@/common/address";
import { lazyPart } from "@/common/lazyPart";
import { Loading } from "@/common/notices";
import { FIELDS } from "@/newrun/address";
import { Boundary } from "./Boundary";

const NewRunForm = lazyPart(() => import("@/newrun/NewRunForm"));

export default function NewRunSheet() {
  const [search, setSearch] = useSearchParams();
  const isOpen = search.get("new") !== null;
  const close = () =>
    setSearch((now) => {
      const rest = new URLSearchParams(now);
      for (const name of ["new", "clone", ...FIELDS]) rest.delete(name);
      return rest;
    });
  return (
    <Drawer opened={isOpen} onClose={close} position="right" size={620} title="New run" closeButtonProps={{ "aria-label": "Close" }}>
      <Boundary>
        <Suspense fallback={<Loading what="form" />}>{isOpen && <NewRunForm onStarted={close} />}</Suspense>
      </Boundary>
    </Drawer>
  );
}
