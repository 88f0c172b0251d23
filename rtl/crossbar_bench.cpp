// Drives the crossbar with the tiles of a file and prints what each took.
//
// Input: for each tile the number of steps; for each step the number of products, and for each its
// bank, address and value. Output, one line a tile: cycles from the first step to the last sum, the
// cycle of each step, "|", then "bank address sum" for every sum that is not zero.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "Vcrossbar.h"
#include "verilated.h"

struct Product { uint32_t bank, address, value; };

static Vcrossbar *top;

template <typename Port> static void put(Port &port, unsigned index, unsigned bits, uint32_t value) {
    auto *words = reinterpret_cast<uint32_t *>(&port);  // little-endian, as Verilator lays it out
    for (unsigned bit = 0; bit < bits; ++bit) {
        const unsigned at = index * bits + bit;
        const uint32_t one = 1u << (at % 32);
        if (value >> bit & 1) words[at / 32] |= one; else words[at / 32] &= ~one;
    }
}

static void tick() {
    top->clock = 1; top->eval();
    top->clock = 0; top->eval();
}

static void offer(const std::vector<Product> &step) {
    for (unsigned i = 0; i < PRODUCTS; ++i) {
        const bool real = i < step.size();
        put(top->step_useful, i, 1, real);
        put(top->step_bank, i, BANK_BITS, real ? step[i].bank : 0);
        put(top->step_address, i, ADDRESS_BITS, real ? step[i].address : 0);
        put(top->step_value, i, 32, real ? step[i].value : 0);
    }
}

static void run(const std::vector<std::vector<Product>> &steps) {
    top->reset = 1; top->step_valid = 0; top->clock = 0; top->eval();
    tick();
    top->reset = 0;
    std::vector<long> began;
    size_t next = 0;
    long cycle = 0;
    // A step that is taken at a clock edge is there in the cycle after it: cycle 0 is the first.
    for (bool first = true;; first = false) {
        top->step_valid = next < steps.size();
        if (top->step_valid) offer(steps[next]);
        top->eval();
        if (!first && !top->busy && !top->step_valid) break;
        const bool taken = top->step_valid && top->step_ready;
        if (!first) ++cycle;
        if (taken) { began.push_back(cycle); ++next; }
        tick();
        if (cycle > 100000000) { std::fprintf(stderr, "no end\n"); break; }
    }
    std::printf("%ld", cycle);
    for (long b : began) std::printf(" %ld", b);
    std::printf(" |");
    for (unsigned b = 0; b < BANKS; ++b)
        for (unsigned a = 0; a < ENTRIES; ++a) {
            top->read_bank = b; top->read_address = a; top->eval();
            if (top->read_value) std::printf(" %u %u %d", b, a, (int32_t)top->read_value);
        }
    std::printf("\n");
}

int main(int argc, char **argv) {
    Verilated::commandArgs(argc, argv);
    top = new Vcrossbar;
    unsigned count;
    while (std::scanf("%u", &count) == 1) {
        std::vector<std::vector<Product>> steps(count);
        for (auto &step : steps) {
            unsigned products;
            if (std::scanf("%u", &products) != 1) return 1;
            step.resize(products);
            for (auto &p : step)
                if (std::scanf("%u %u %u", &p.bank, &p.address, &p.value) != 3) return 1;
        }
        run(steps);
    }
    delete top;
}
